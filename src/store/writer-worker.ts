import { once } from 'node:events';
import { closeSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { parentPort } from 'node:worker_threads';
import Database from 'better-sqlite3';
import { crashPoint } from '../base/crash-point.ts';
import { isDiskFull } from '../base/files.ts';
import { DaemonError } from '../protocol/errors.ts';
import { migrate } from './migrations.ts';
import type { FromWriter, ToWriter, WriterData } from './writer-messages.ts';
import { prepareWrites } from './writes.ts';

const port = parentPort!;
const [{ path, reservePath, reserveBytes, crashAt }] = (await once(port, 'message')) as [WriterData]; // its first message
const checkpointAfterMs = 500;
/** The reserve is made only where there is room for it many times over. */
const reserveHeadroom = 3;
const onStep = crashPoint(crashAt, () => process.kill(process.pid, 'SIGKILL'));

const db = new Database(path);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.pragma('foreign_keys = ON');
db.pragma('wal_autocheckpoint = 16384'); // a checkpoint in a busy moment is the slowest commit there is: it waits for a quiet one, or for 64 MiB
migrate(db);
const writes = prepareWrites(db);
keepReserve();

type Unit = ToWriter['units'][number];
type Outcome = FromWriter['outcomes'][number];

/** One write within the batch's transaction: its failure undoes it alone. */
const runUnit = db.transaction((unit: Unit) => writes[unit.name](unit.args as never));

const runBatch = db.transaction((units: readonly Unit[]): Outcome[] => {
  const outcomes = units.map((unit): Outcome => {
    try {
      return { result: runUnit(unit) };
    } catch (error) {
      if (isFull(error) || !db.inTransaction) throw error; // the batch is lost with it
      return { failure: failureOf(error) };
    }
  });
  onStep('commit.begun');
  return outcomes;
});

let quiet: NodeJS.Timeout | undefined;

port.on('message', ({ units }: ToWriter) => {
  clearTimeout(quiet);
  const outcomes = commit(units);
  onStep('commit.done');
  port.postMessage({ outcomes } satisfies FromWriter);
  quiet = setTimeout(checkpoint, checkpointAfterMs);
});

/** Endings have room kept for them: on a full disk the reserve is given up and what is urgent is written alone. */
function commit(units: readonly Unit[]): Outcome[] {
  try {
    return runBatch.immediate(units);
  } catch (error) {
    const full = isFull(error);
    const urgent = units.filter((unit) => unit.urgent);
    if (!full || urgent.length === 0) return units.map(() => ({ failure: failureOf(error) }));
    rmSync(reservePath, { force: true });
    const saved = new Map(urgent.map((unit) => [unit, commitAlone(unit)]));
    return units.map((unit) => saved.get(unit) ?? { failure: failureOf(error) });
  }
}

function commitAlone(unit: Unit): Outcome {
  try {
    return runBatch.immediate([unit])[0]!;
  } catch (error) {
    return { failure: failureOf(error) };
  }
}

function checkpoint(): void {
  try {
    db.pragma('wal_checkpoint(PASSIVE)');
    keepReserve();
  } catch (error) {
    if (!isFull(error)) throw error; // tried again after the next commit
  }
}

function keepReserve(): void {
  if (statSync(reservePath, { throwIfNoEntry: false })?.size === reserveBytes) return;
  const { bavail, bsize } = statfsSync(dirname(reservePath));
  if (bavail * bsize < reserveHeadroom * reserveBytes) return; // the rest is needed more
  const file = openSync(reservePath, 'w', 0o600);
  try {
    writeSync(file, Buffer.alloc(reserveBytes, 1));
  } catch (error) {
    if (!isFull(error)) throw error;
  } finally {
    closeSync(file);
  }
}

function isFull(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (isDiskFull(error) || ['SQLITE_FULL', 'SQLITE_IOERR_WRITE', 'SQLITE_IOERR_SHMSIZE'].includes(String(error.code)))
  );
}

function failureOf(error: unknown): NonNullable<Outcome['failure']> {
  if (error instanceof DaemonError) return { code: error.code, message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return isFull(error)
    ? { code: 'storage_full', message: 'the disk of the state directory is full' }
    : { code: 'internal', message };
}

port.postMessage('ready');
