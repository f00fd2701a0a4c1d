import { readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive } from '../process/identity.ts';
import { HostError } from './host-error.ts';
import type { HostRecord } from './protocol.ts';
import { readBootId } from './boot-id.ts';

/** What a socket's address has room for, less its end: 108 bytes on Linux, 104 on macOS. */
const maxSocketPathBytes = process.platform === 'linux' ? 107 : 103;

export const hostsDirectory = (stateDir: string): string => join(stateDir, 'hosts');
export const hostRecordPath = (stateDir: string, id: string): string => join(hostsDirectory(stateDir), `${id}.json`);

/** Refuses a path that the system would cut. */
export function hostSocketPath(stateDir: string, id: string): string {
  const path = join(hostsDirectory(stateDir), `${id}.sock`);
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxSocketPathBytes) return path;
  const message = `The socket path ${path} has ${bytes} bytes, ${maxSocketPathBytes} are allowed: use a shorter state directory`;
  throw new HostError('path_too_long', message);
}

export async function readHostRecords(stateDir: string): Promise<HostRecord[]> {
  const names = await readdir(hostsDirectory(stateDir)).catch(() => []);
  const ids = names.filter((name) => name.endsWith('.json') && !name.startsWith('.')).map((name) => name.slice(0, -5));
  const records = await Promise.all(ids.map((id) => readHostRecord(stateDir, id)));
  return records.filter((record) => record !== null);
}

/** Null when there is none: not yet, or no more. */
export async function readHostRecord(stateDir: string, id: string): Promise<HostRecord | null> {
  const text = await readFile(hostRecordPath(stateDir, id), 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as HostRecord); // written whole, by a host
}

/** Whether the process that wrote the record runs. One of an earlier boot does not, whoever has its pid now. */
export async function isHostAlive(record: HostRecord): Promise<boolean> {
  return record.bootId === (await readBootId()) && isAlive(record);
}

/** What a dead host left at its door; the record last, so that an interrupted removal is taken up again. */
export async function removeHostFiles(stateDir: string, id: string): Promise<void> {
  const paths = [join(hostsDirectory(stateDir), `${id}.sock`), hostRecordPath(stateDir, id)];
  for (const path of paths) await unlink(path).catch(() => undefined); // it is gone already
}
