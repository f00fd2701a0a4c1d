import { mkdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../base/files.ts';

const beatMs = 1_000;
const staleMs = 10_000;
const pollMs = 200;

export interface FolderLockOptions {
  readonly signal: AbortSignal;
  /** Called once when another process holds the lock. */
  readonly onWait?: () => void;
}

/** Holds the folder `path` as a lock. Its time is kept fresh, so that one whose process died is taken over after 10 s. */
export async function openFolderLock(path: string, { signal, onWait }: FolderLockOptions): Promise<AsyncDisposable> {
  for (let waited = false; !(await make(path)); waited = true) {
    if (!waited) onWait?.();
    await dropStale(path);
    await sleep(pollMs, undefined, { signal });
  }
  // A beat that fails means that the folder is gone: then there is nothing to keep fresh.
  const beat = setInterval(() => void touch(path).catch(() => undefined), beatMs).unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(beat);
      await rm(path, { recursive: true, force: true });
    },
  };
}

async function make(path: string): Promise<boolean> {
  try {
    await mkdir(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now);
}

/** Moved away before it is deleted: of several that wait, one alone succeeds, and never with a lock just made anew. */
async function dropStale(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined); // gone already: the next attempt sees
  if (!found || Date.now() - found.mtimeMs < staleMs) return;
  const aside = `${path}.${process.pid}.stale`;
  const moved = await rename(path, aside).then(
    () => true,
    () => false,
  );
  if (moved) await rm(aside, { recursive: true, force: true });
}
