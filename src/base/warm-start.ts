import { statSync } from 'node:fs';
import { flushCompileCache, getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';

/**
 * Whether this process compiled its own sources and has now left the result for the next. What strips their types stays
 * in memory, 40 MiB that one which finds them compiled does not need.
 */
export function hasFilledCompileCache(): boolean {
  const directory = getCompileCacheDir();
  if (directory === undefined) return false;
  const before = lastWrite(directory);
  flushCompileCache();
  return lastWrite(directory) !== before;
}

/** Each write into it is a file made aside and renamed, which the directory's own time tells. */
function lastWrite(directory: string): number {
  return statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** The environment by which another process or thread uses this one's compile cache, from its first file on. */
export function compileCacheEnv(): Record<string, string> {
  const directory = getCompileCacheDir(); // of this version of Node, within the one that is to be named
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) };
}
