/** The file by which others find the running offline model, and by which it notices that it is no longer wanted. */
import { readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Version of this file and of what it leads to. */
export const presenceVersion = 1;

export interface Presence {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat: with the pid it names one process for ever. Null where there is no /proc. */
  readonly startTime: string | null;
  readonly port: number;
  readonly url: string;
  readonly version: number;
}

export function presencePath(dir: string): string {
  return join(dir, 'offline-model.json');
}

export function readPresence(dir: string): Presence | undefined {
  try {
    const value = JSON.parse(readFileSync(presencePath(dir), 'utf8')) as Partial<Presence> | null;
    const isWhole = Number.isInteger(value?.pid) && Number.isInteger(value?.port) && typeof value?.url === 'string';
    return isWhole ? (value as Presence) : undefined;
  } catch {
    // Absent, or not written by us: the same as none.
    return undefined;
  }
}

export async function writePresence(dir: string, presence: Presence): Promise<void> {
  const path = presencePath(dir);
  const aside = `${path}.${presence.pid}`;
  try {
    await writeFile(aside, `${JSON.stringify(presence)}\n`, { mode: 0o600 });
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw error;
  }
}

/** Null where there is no /proc, and for a process that is gone, if only its entry is left to be collected. */
export function startTimeOf(pid: number | 'self'): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Whether that process runs and answers: one that is leaving has closed its port. */
export async function answers(presence: Presence): Promise<boolean> {
  if (!isAlive(presence)) return false;
  return fetch(`${presence.url}/_health`, { signal: AbortSignal.timeout(1_000) }).then(
    ({ ok }) => ok,
    () => false,
  );
}

function isAlive({ pid, startTime }: Presence): boolean {
  if (startTime !== null) return startTimeOf(pid) === startTime;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
