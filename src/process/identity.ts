import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * One process, told apart from a later one that was given the same pid. `startTime` is opaque: clock ticks since boot on
 * Linux, a date elsewhere. Only compare it.
 */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
}

/** What the kernel says of one process. */
export interface ProcessRow extends ProcessIdentity {
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  /** One letter, `Z` for a zombie. */
  readonly state: string;
}

const hasProc = process.platform === 'linux';

/** One process as it is now; null when there is none. A zombie is one still: see `isLiving`. */
export function readProcess(pid: number): ProcessRow | null {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null;
  if (!hasProc) return readWithPs(['-p', String(pid)])[0] ?? null;
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return null; // it is gone, or was never there
  }
}

/** The second field is the program's name in parentheses, in which anything may stand: so count from the last `)`. */
export function parseStat(stat: string): ProcessRow | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, ppid, pgrp, session] = fields;
  const startTime = fields[22 - 3];
  if (state === undefined || startTime === undefined) return null;
  return {
    pid: parseInt(stat, 10),
    startTime,
    ppid: Number(ppid),
    pgrp: Number(pgrp),
    session: Number(session),
    state,
  };
}

/** Every process, by `ps`, where there is no /proc. */
export function readWithPs(selection: readonly string[]): ProcessRow[] {
  try {
    const args = [...selection, '-o', 'pid=,ppid=,pgid=,sess=,state=,lstart='];
    const text = execFileSync('ps', args, { encoding: 'utf8', env: { PATH: '/bin:/usr/bin', LC_ALL: 'C' } });
    return text.split('\n').flatMap((line) => {
      const [pid, ppid, pgrp, session, state, ...start] = line.trim().split(/\s+/);
      if (!pid || !state) return [];
      const ids = { pid: Number(pid), ppid: Number(ppid), pgrp: Number(pgrp), session: Number(session) || 0 };
      return [{ ...ids, state: state.slice(0, 1), startTime: start.join(' ') }];
    });
  } catch {
    return []; // ps exits 1 when nothing matches
  }
}

export function isLiving(row: ProcessRow): boolean {
  return row.state !== 'Z' && row.state !== 'X';
}

export function identityOf(pid: number): ProcessIdentity | null {
  const row = readProcess(pid);
  return row && { pid: row.pid, startTime: row.startTime };
}

/** Whether exactly this process still runs: a zombie does not, nor does another one with its pid. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  const row = readProcess(pid);
  return row !== null && row.startTime === startTime && isLiving(row);
}

/** Sends a signal to exactly this process, checked just before; false when it is gone or may not be signalled. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false; // gone in between, or not ours
  }
}
