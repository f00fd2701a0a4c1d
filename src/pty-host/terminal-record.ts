import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, syncDirectory, writeFileAtomic } from '../base/files.ts';
import { endTree, type Ended } from '../process/end-tree.ts';
import { isAlive, type ProcessIdentity } from '../process/identity.ts';
import type { Marker } from '../process/process-table.ts';
import { readBootId } from './boot-id.ts';
import type { Exit, SpawnRequest, TerminalStatus } from './protocol.ts';

/** `spawn.json`: what was about to be started, written before it was. Neither environment nor secrets. */
export interface SpawnRecord {
  readonly format: number;
  readonly id: string;
  readonly hostId: string;
  /** The machine's boot, since which alone pids and monotonic times mean anything. */
  readonly bootId: string;
  readonly argvHash: string;
  readonly marker: Marker;
  readonly cgroup: string | null;
  readonly cwd: string;
  readonly cols: number;
  readonly rows: number;
  readonly redirect: SpawnRequest['redirect'] | null;
  /** The same moment by the wall clock (ms) and by CLOCK_MONOTONIC (ns), which the journal's index counts in. */
  readonly startedAt: number;
  readonly startedAtMonotonicNs: string;
}

/** What is on disk of one terminal. Without a pid its host died while starting it: it may have run or not. */
export interface TerminalRecord {
  readonly spawn: SpawnRecord;
  readonly pid: ProcessIdentity | null;
  readonly exit: Exit | null;
}

/** Room that is taken before the start, so that an ending can be written when the disk is full. */
const reservedBytes = 4096;

export const terminalDirectory = (stateDir: string, id: string): string => join(stateDir, 'terminals', id);
export const journalDirectory = (stateDir: string, id: string): string =>
  join(terminalDirectory(stateDir, id), 'journal');

export function hashArgv(argv: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(argv)).digest('hex');
}

/** Makes the directory with the record in it, durably. What an interrupted attempt left behind is no record: it goes. */
export async function writeSpawnRecord(stateDir: string, record: SpawnRecord): Promise<void> {
  const directory = terminalDirectory(stateDir, record.id);
  await rm(directory, { recursive: true, force: true });
  await mkdir(journalDirectory(stateDir, record.id), { recursive: true, mode: 0o700 });
  const writing = [
    reserve(join(directory, 'pid.json')),
    reserve(join(directory, 'exit.json')),
    writeFileAtomic(join(directory, 'spawn.json'), JSON.stringify(record)),
    syncDirectory(join(stateDir, 'terminals')),
  ];
  await Promise.allSettled(writing); // none may still be writing when a failed start is cleared away
  await Promise.all(writing);
}

export async function writePidRecord(stateDir: string, id: string, { pid, startTime }: ProcessIdentity): Promise<void> {
  await fill(join(terminalDirectory(stateDir, id), 'pid.json'), { pid, startTime });
}

export async function writeExitRecord(stateDir: string, id: string, exit: Exit): Promise<void> {
  await fill(join(terminalDirectory(stateDir, id), 'exit.json'), exit);
}

/** For a start that failed: nothing stays that could block another. */
export async function removeTerminal(stateDir: string, id: string): Promise<void> {
  await rm(terminalDirectory(stateDir, id), { recursive: true, force: true });
}

/** Null when nothing of this id was ever about to start. */
export async function readTerminalRecord(stateDir: string, id: string): Promise<TerminalRecord | null> {
  const directory = terminalDirectory(stateDir, id);
  // Our own files, written whole or not at all, in a private directory: their shape is trusted.
  const spawn = (await readJson(join(directory, 'spawn.json'))) as SpawnRecord | null;
  if (spawn === null) return null;
  const pid = (await readJson(join(directory, 'pid.json'))) as ProcessIdentity | null;
  const exit = (await readJson(join(directory, 'exit.json'))) as Exit | null;
  return { spawn, pid, exit };
}

export function statusOf({ spawn, pid, exit }: TerminalRecord): TerminalStatus {
  const { id, hostId, argvHash, startedAt, cgroup } = spawn;
  return { id, hostId, argvHash, pid: pid?.pid ?? 0, startTime: pid?.startTime ?? '', startedAt, cgroup, exit };
}

/** Ends whatever is left of a terminal whose host died. Safe to repeat, and for one that never came to run. */
export async function sweepLost({ spawn, pid }: TerminalRecord, { graceMs = 2000 } = {}): Promise<Ended> {
  if (spawn.bootId !== (await readBootId())) return { ended: 0, leftover: 0, oomKills: null };
  const leader = pid && isAlive(pid) ? pid : null;
  return endTree({ cgroup: spawn.cgroup, leader, marker: spawn.marker }, { graceMs });
}

async function reserve(path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(' '.repeat(reservedBytes));
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Overwrites reserved room in place, durably. Half of it, after a crash, is not JSON and counts as nothing. */
async function fill(path: string, value: unknown): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.write(JSON.stringify(value).padEnd(reservedBytes), 0);
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError || errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
