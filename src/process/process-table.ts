import { readdir, readFile } from 'node:fs/promises';
import { setImmediate as yieldToLoop } from 'node:timers/promises';
import { isLiving, readProcess, readWithPs, type ProcessRow } from './identity.ts';

/** A variable in the environment of all that a terminal starts, by which what escaped its process tree is found. */
export interface Marker {
  readonly name: string;
  readonly value: string;
}

const rowsPerSlice = 64;

/** Every living process. The rows are read in slices, so that a machine full of processes stalls no terminal. */
export async function readProcessTable(): Promise<ProcessRow[]> {
  if (process.platform !== 'linux') return readWithPs(['-ax']).filter(isLiving);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const rows: ProcessRow[] = [];
  for (const [index, pid] of pids.entries()) {
    if (index % rowsPerSlice === rowsPerSlice - 1) await yieldToLoop();
    const row = readProcess(Number(pid));
    if (row && isLiving(row)) rows.push(row);
  }
  return rows;
}

/** Whether a process was started with the marker. Its environment may be unreadable (another user's): then it is not. */
export async function hasMarker(pid: number, marker: Marker): Promise<boolean> {
  try {
    // Off the loop: reading it can wait for the other process's memory lock.
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1');
    const variable = Buffer.from(`${marker.name}=${marker.value}`).toString('latin1');
    return `\0${environment}\0`.includes(`\0${variable}\0`);
  } catch {
    return false;
  }
}

/** The words of a process's command line; none when it is gone. */
export async function commandOf(pid: number): Promise<string[]> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
  } catch {
    return [];
  }
}
