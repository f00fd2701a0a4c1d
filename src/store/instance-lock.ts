import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { DaemonError } from '../protocol/errors.ts';

interface Owner {
  readonly pid: number;
  readonly startTime: string;
}

/**
 * One daemon a state directory. The lock is the operating system's, on a database file, so that it ends with its process
 * whatever happens; who holds it (pid and start time) stands beside it for the message.
 */
export function lockState(stateDir: string, owner: Owner): Disposable {
  const ownerPath = join(stateDir, 'lock.json');
  const lockPath = join(stateDir, 'lock');
  closeSync(openSync(lockPath, 'a', 0o600)); // SQLite would make it readable by all
  const db = new Database(lockPath, { timeout: 0 });
  try {
    db.pragma('journal_mode = MEMORY'); // nothing is ever written, so that a full disk does not matter
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (!(error instanceof Database.SqliteError) || error.code !== 'SQLITE_BUSY') throw error;
    throw new DaemonError(
      'state_locked',
      `${stateDir} is in use by another harnessd (${holder(ownerPath)}): stop that one with "harnessd stop", or name another state directory`,
    );
  }
  writeFileSync(ownerPath, JSON.stringify(owner), { mode: 0o600 });
  return { [Symbol.dispose]: () => db.close() };
}

function holder(path: string): string {
  try {
    const { pid, startTime } = JSON.parse(readFileSync(path, 'utf8')) as Owner;
    return `process ${pid}, start time ${startTime}`;
  } catch {
    return 'it has not said which process yet';
  }
}
