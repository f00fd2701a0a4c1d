import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import type { StoredEvent } from '../../src/protocol/events.ts';
import type { TaskId, TurnId } from '../../src/protocol/ids.ts';
import type { ParamsIn } from '../../src/protocol/methods.ts';
import { modelRequests, type DaemonOptions, type ModelRequest, type TestDaemon } from './daemon.ts';

export const by = (executor: string, flags: DaemonOptions['flags'] = {}): DaemonOptions => ({
  flags: { 'executors-default': executor, ...flags },
});
export const only = (events: readonly StoredEvent[], type: StoredEvent['type']): StoredEvent['data'][] =>
  events.filter((event) => event.type === type).map(({ data }) => data);
export const sessionOf = (events: readonly StoredEvent[]): unknown =>
  only(events, 'executor.session').at(-1)?.['sessionId'];
export const texts = (events: readonly StoredEvent[]): unknown[] =>
  only(events, 'message.added').map(({ text }) => text);
export const startOf = (events: readonly StoredEvent[], turnId: TurnId): StoredEvent =>
  events.find((event) => event.turnId === turnId && event.type === 'turn.started')!;

/** What a conversation’s executor asked the offline model. */
export async function requestsOf(daemon: TestDaemon, session: unknown): Promise<ModelRequest[]> {
  return (await modelRequests(daemon)).filter((entry) => entry.path !== undefined && entry.session === session);
}

export async function prompted(
  daemon: TestDaemon,
  params: ParamsIn<'task.prompt'> & { readonly taskId: TaskId },
): Promise<{ turnId: TurnId; events: StoredEvent[] }> {
  const client = await daemon.client();
  const { turnId } = await client.call('task.prompt', params);
  return { turnId, events: await daemon.eventsUntilEnded(params.taskId, turnId) };
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

let folders = 0;
/** A workspace; its name needs quoting wherever a shell sees it. */
export async function newFolder(daemon: TestDaemon): Promise<string> {
  const path = join(daemon.dir, `a workspace ü ${(folders += 1)}`);
  await mkdir(path);
  return path;
}

interface Begun {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
  readonly pid: number;
}

/** Starts a turn, of a task that there is or a new one, and resolves when its tool runs: a shell that has started what outlives a signal to its parent. */
export async function inTheTool(daemon: TestDaemon, there?: TaskId): Promise<Begun> {
  const client = await daemon.client();
  const started = join(await mkdtemp(join(daemon.dir, 'tool-')), 'started');
  const prompt = `{{say: I begin.}} {{run: setsid sleep 600 & touch ${started}; sleep 601}}`;
  const { taskId, turnId } =
    there === undefined
      ? await client.call('task.create', { prompt, workspace: await newFolder(daemon) })
      : await client.call('task.prompt', { taskId: there, prompt });
  const isOfTurn = (type: StoredEvent['type']) => (event: StoredEvent) =>
    event.turnId === turnId && event.type === type;
  const events = await daemon.eventsUntil(taskId, isOfTurn('tool.called'));
  await vi.waitFor(() => expect(existsSync(started)).toBe(true), { timeout: 10_000, interval: 20 });
  expect((await processesOf(turnId)).length).toBeGreaterThanOrEqual(3);
  return { taskId, turnId, pid: Number(events.find(isOfTurn('turn.running'))!.data['pid']) };
}
