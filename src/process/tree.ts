import { pidsInCgroup } from './cgroup.ts';
import { isAlive, isLiving, readProcess, type ProcessIdentity, type ProcessRow } from './identity.ts';
import { hasMarker, readProcessTable, type Marker } from './process-table.ts';

/** All that one terminal started. */
export interface ProcessTree {
  /** Its cgroup, if it was given one: then that alone says what belongs to it. */
  readonly cgroup: string | null;
  /** The process that the terminal started; null when it died too long ago for its pid to still mean anything. */
  readonly leader: ProcessIdentity | null;
  readonly marker: Marker;
}

/** The living processes of a tree, the youngest first and the leader last: the order in which to end them. */
export async function membersOf(tree: ProcessTree): Promise<ProcessRow[]> {
  const rows = tree.cgroup === null ? await findWeakly(tree) : await findInCgroup(tree.cgroup, tree.leader);
  const isLeader = (row: ProcessRow): number => (row.pid === tree.leader?.pid ? 1 : 0);
  return rows.sort((a, b) => isLeader(a) - isLeader(b) || startOf(b) - startOf(a) || b.pid - a.pid);
}

/** The leader counts even before it has entered its group. */
async function findInCgroup(cgroup: string, leader: ProcessIdentity | null): Promise<ProcessRow[]> {
  const pids = new Set(await pidsInCgroup(cgroup));
  if (leader && isAlive(leader)) pids.add(leader.pid);
  return [...pids].flatMap((pid) => readProcess(pid) ?? []).filter(isLiving);
}

/**
 * Without a cgroup: the leader's session, all descendants, whatever carries the marker, and the sessions and process
 * groups that any of these made. Not found is a process that left its session, lost its parents and cleared its
 * environment.
 */
async function findWeakly({ leader, marker }: ProcessTree): Promise<ProcessRow[]> {
  const table = await readProcessTable();
  const self = readProcess(process.pid);
  // Nothing is older than what started it, so the machine's own processes need no look at their environment.
  const candidates = table.filter((row) => row.pid !== process.pid && !(leader && startOf(row) < startOf(leader)));
  const session = leader && namesItsSession(leader, table) ? leader.pid : null;
  const members = new Map<number, ProcessRow>();
  for (const row of candidates) {
    const isKin = row.pid === leader?.pid ? row.startTime === leader.startTime : row.session === session;
    if (isKin || (await hasMarker(row.pid, marker))) members.set(row.pid, row);
  }
  for (let known = -1; known !== members.size;) {
    known = members.size;
    const groups = new Set([...members.values()].flatMap((row) => [row.session, row.pgrp]));
    for (const shared of [0, self?.session, self?.pgrp]) groups.delete(shared ?? 0);
    for (const row of candidates) {
      if (members.has(row.ppid) || groups.has(row.session) || groups.has(row.pgrp)) members.set(row.pid, row);
    }
  }
  return [...members.values()];
}

/** Once another process has the leader's pid, a session of that number need not be the leader's. */
function namesItsSession(leader: ProcessIdentity, table: readonly ProcessRow[]): boolean {
  return table.every((row) => row.pid !== leader.pid || row.startTime === leader.startTime);
}

/** Larger is younger; NaN where a start time cannot be read, so that every comparison is false. */
function startOf({ startTime }: ProcessIdentity): number {
  return /^\d+$/.test(startTime) ? Number(startTime) : Date.parse(startTime);
}
