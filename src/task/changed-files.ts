import type { Dir, Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join, relative } from 'node:path';

const maxVisited = 20_000;
/** Places where tools keep what nobody wrote. */
const skipped = new Set(['.git', 'node_modules', '.venv', '__pycache__', '.cache']);

export interface Changed {
  /** Relative to the folder, in order. */
  readonly paths: readonly string[];
  /** False when there are more, or the folder is too large to look at all of it. */
  readonly isWhole: boolean;
}

/**
 * The files below a folder that were made or changed since a time (milliseconds since the epoch), by the file system's own
 * word. No link is followed, and no program is asked: a repository can make git itself run what it likes.
 */
export async function changedFiles(
  folder: string,
  { since, maxFiles }: { since: number; maxFiles: number },
): Promise<Changed> {
  const paths: string[] = [];
  const folders = [folder];
  let visited = 0;
  for (let current = folders.pop(); current !== undefined; current = folders.pop()) {
    const entries = await opendir(current).catch(() => undefined); // gone, or not ours to read
    if (!entries) continue;
    for await (const entry of readable(entries)) {
      visited += 1;
      if (visited > maxVisited) return { paths: paths.sort(inOrder).slice(0, maxFiles), isWhole: false };
      const path = join(current, entry.name);
      if (entry.isDirectory() && !skipped.has(entry.name)) folders.push(path);
      if (!entry.isFile()) continue;
      const found = await lstat(path).catch(() => undefined); // gone meanwhile
      if (found && Math.max(found.mtimeMs, found.ctimeMs) >= since) paths.push(relative(folder, path));
    }
  }
  return { paths: paths.sort(inOrder).slice(0, maxFiles), isWhole: paths.length <= maxFiles };
}

/** As far as it can be read: what cannot is no reason to do without the rest. */
async function* readable(entries: Dir): AsyncGenerator<Dirent> {
  try {
    yield* entries;
  } catch {
    return;
  }
}

function inOrder(one: string, other: string): number {
  return one < other ? -1 : 1;
}
