import { readdir, readFile } from 'node:fs/promises';
import type { StoredEvent } from '../../src/protocol/events.ts';
import type { TurnId } from '../../src/protocol/ids.ts';
import { modelRequests, type DaemonOptions, type ModelRequest, type TestDaemon } from './daemon.ts';

export const byCodex = (flags: DaemonOptions['flags'] = {}): DaemonOptions => ({
  flags: { 'executors-default': 'codex', ...flags },
});
export const only = (events: readonly StoredEvent[], type: StoredEvent['type']): StoredEvent['data'][] =>
  events.filter((event) => event.type === type).map(({ data }) => data);
export const sessionOf = (events: readonly StoredEvent[]): unknown =>
  only(events, 'executor.session').at(-1)?.['sessionId'];
export const texts = (events: readonly StoredEvent[]): unknown[] =>
  only(events, 'message.added').map(({ text }) => text);
export const startOf = (events: readonly StoredEvent[], turnId: TurnId): StoredEvent =>
  events.find((event) => event.turnId === turnId && event.type === 'turn.started')!;

export async function requestsOf(daemon: TestDaemon, session: unknown): Promise<ModelRequest[]> {
  return (await modelRequests(daemon)).filter((entry) => entry.path !== undefined && entry.session === session);
}

/** Processes of one turn, by the variable that they inherit. */
export async function processesOf(turnId: TurnId): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(`HARNESSD_TURN=${turnId}`)) found.push(pid);
  }
  return found;
}
