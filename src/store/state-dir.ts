import { accessSync, chmodSync, constants, mkdirSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errnoOf } from '../base/files.ts';
import { DaemonError } from '../protocol/errors.ts';

const neededBytes = 1024 * 1024;
const folders = ['logs', 'turns', 'tasks', 'terminals', 'hosts', 'workspaces'];
/** What may stand in a state directory before its first daemon. */
const early = new Set([...folders, 'config.json', 'compile-cache']);
/** What tells that a daemon was here. */
const ours = ['lock', 'harnessd.db'];

/**
 * Makes the state directory, private to its owner. One that holds something else is left as it is. Synchronous: nothing
 * else has begun, and so many trips to the thread pool take longer than a start has for them.
 */
export function openStateDir(stateDir: string): void {
  try {
    makeDirectory(stateDir);
    const names = readdirSync(stateDir);
    if (!ours.some((name) => names.includes(name)) && names.some((name) => !early.has(name)))
      throw new Error('it holds other files than harnessd’s');
    chmodSync(stateDir, 0o700);
    accessSync(stateDir, constants.W_OK);
    giveUpReserve(stateDir);
    for (const name of folders) makeDirectory(join(stateDir, name));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DaemonError('state_unwritable', `${stateDir} cannot be made or written: ${why}`, { cause: error });
  }
}

/** On a full disk a daemon could not say where it listens, nor open its database: then it begins with what was kept for endings. */
function giveUpReserve(stateDir: string): void {
  const { bavail, bsize } = statfsSync(stateDir);
  if (bavail * bsize < neededBytes) rmSync(join(stateDir, 'reserve'), { force: true });
}

/** Step by step: Node's own recursive way never comes back where a file system allows no directories (/proc). */
function makeDirectory(path: string, { isRetry = false } = {}): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    if (errnoOf(error) !== 'ENOENT' || isRetry) throw error;
    makeDirectory(dirname(path));
    makeDirectory(path, { isRetry: true });
  }
}
