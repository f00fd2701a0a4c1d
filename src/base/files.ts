import { randomBytes } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

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
