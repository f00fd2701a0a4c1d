import { setTimeout as sleep } from 'node:timers/promises';
import { killCgroup, oomKills, removeCgroup } from './cgroup.ts';
import { readProcess, signalProcess, type ProcessRow } from './identity.ts';
import { membersOf, type ProcessTree } from './tree.ts';

export interface EndOptions {
  /** What asks the leader to stop; what it started gets SIGTERM. */
  readonly signal?: NodeJS.Signals;
  /** From the first signal to SIGKILL. */
  readonly graceMs: number;
}

export interface Ended {
  /** How many processes besides the leader had to be ended. */
  readonly ended: number;
  /** How many live on after SIGKILL: stuck in the kernel, or not ours to signal. */
  readonly leftover: number;
  /** How many the kernel killed for want of memory; null when it does not count them per tree here. */
  readonly oomKills: number | null;
}

/** After SIGKILL a process goes at once, but for one that waits in the kernel. */
const killMs = 10_000;

/** Ends all of a tree: asks each member once, newcomers too, kills what stays, and comes back when it saw them gone. */
export async function endTree(tree: ProcessTree, { signal = 'SIGTERM', graceMs }: EndOptions): Promise<Ended> {
  const seen = new Set<string>();
  const isLeader = (row: ProcessRow): boolean => row.pid === tree.leader?.pid;
  const ask = (row: ProcessRow): void => {
    const key = `${row.pid} ${row.startTime}`;
    if (seen.has(key)) return;
    seen.add(key);
    signalProcess(row, isLeader(row) ? signal : 'SIGTERM');
    if (row.state === 'T') signalProcess(row, 'SIGCONT'); // one that is stopped cannot heed the other
  };
  const kill = (row: ProcessRow): void => {
    seen.add(`${row.pid} ${row.startTime}`);
    if (tree.cgroup === null) killProcessGroup(row);
    signalProcess(row, 'SIGKILL');
  };

  let leftover = await sweep(tree, graceMs, (rows) => rows.forEach(ask));
  if (leftover > 0) {
    leftover = await sweep(tree, killMs, async (rows) => {
      if (tree.cgroup !== null) await killCgroup(tree.cgroup);
      rows.forEach(kill);
    });
  }
  const oom = await oomKills(tree.cgroup);
  if (tree.cgroup !== null && leftover === 0 && !(await removeCgroup(tree.cgroup))) {
    leftover = Math.max(1, (await membersOf(tree)).length); // also what cannot be seen from here
  }
  const leaderKey = tree.leader ? `${tree.leader.pid} ${tree.leader.startTime}` : '';
  return { ended: seen.size - (seen.has(leaderKey) ? 1 : 0), leftover, oomKills: oom };
}

/** Does `act` to the members until none is left or the time is over; comes back with how many are left. */
async function sweep(
  tree: ProcessTree,
  ms: number,
  act: (rows: readonly ProcessRow[]) => void | Promise<void>,
): Promise<number> {
  const deadline = performance.now() + ms;
  for (let pauseMs = 4; ; pauseMs = Math.min(pauseMs * 2, 100)) {
    const rows = await membersOf(tree);
    if (rows.length === 0 && (await isEmpty(tree))) return 0;
    await act(rows);
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) return Math.max(rows.length, 1);
    await sleep(Math.min(pauseMs, leftMs));
  }
}

/** A second look: one that forks while the table is read can be missed by the first. */
async function isEmpty(tree: ProcessTree): Promise<boolean> {
  return (await membersOf(tree)).length === 0;
}

/** All of a group at once, so that a member that forks does not outrun the sweep. Every group of a member is the tree's. */
function killProcessGroup(row: ProcessRow): void {
  const now = readProcess(row.pid);
  const own = readProcess(process.pid);
  if (now?.startTime !== row.startTime || now.pgrp <= 1 || now.pgrp === own?.pgrp) return;
  try {
    process.kill(-now.pgrp, 'SIGKILL');
  } catch {
    // gone in between, or not ours
  }
}
