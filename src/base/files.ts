import { randomBytes } from 'node:crypto';
import { chmod, open, readdir, rename, rm, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const fullBelowBytes = 64 * 1024;

/** Makes a directory's entries durable: a rename is not, until its directory is synced. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Makes a private (0600) file that is not there yet, durably, in directories made for it just before. */
export async function writeNewFile(path: string, text: string, newDirectories: readonly string[]): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await Promise.all([file.sync(), ...newDirectories.map(syncDirectory)]);
  } finally {
    await file.close();
  }
}

/**
 * Writes a private (0600) file so that a reader sees the old text or the new, never a part; durably, unless it tells of
 * what no power failure outlives.
 */
export async function writeFileAtomic(path: string, text: string, { isDurable = true } = {}): Promise<void> {
  const aside = join(dirname(path), `.${randomBytes(6).toString('hex')}.part`);
  try {
    const file = await open(aside, 'wx', 0o600);
    try {
      await file.writeFile(text);
      if (isDurable) await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
  } catch (error) {
    await unlink(aside).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
  if (isDurable) await syncDirectory(dirname(path));
}

/** The system's error code (`ENOENT`, `ENOSPC`…) of something thrown, if it has one. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Whether something failed for want of space: a full disk, a quota, or a limit on a file's size. */
export function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(errnoOf(error) ?? '');
}

/** Whether a file system has so little room left that a program cannot have written what it wanted to. */
export async function isFileSystemFull(path: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize < fullBelowBytes;
}

/** Removes a directory and all in it, also what its owner has made unwritable (as Go's module cache is). */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (!['EACCES', 'EPERM', 'ENOTEMPTY'].includes(errnoOf(error) ?? '')) throw error;
    await makeWritable(path);
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function makeWritable(directory: string): Promise<void> {
  await chmod(directory, 0o700);
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(directory, entry.name)); // not a link: it leads elsewhere
  }
}
