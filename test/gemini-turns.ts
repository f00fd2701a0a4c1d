import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TaskId, TurnId } from '../src/protocol/ids.ts';
import type { ParamsIn } from '../src/protocol/methods.ts';
import { modelRequests, prepareDaemon, type ModelRequest, type TestDaemon } from './support/daemon.ts';

/* Turns of the installed Gemini CLI, for its tests. */

export type Run = Awaited<ReturnType<TestDaemon['run']>>;
type LoggedRequest = ModelRequest & { readonly lastUserText?: string; readonly toolCalls?: number };

export function run(daemon: TestDaemon, params: ParamsIn<'task.create'>): Promise<Run> {
  return daemon.run({ executor: 'gemini', ...params });
}

export async function prompted(
  daemon: TestDaemon,
  params: ParamsIn<'task.prompt'> & { readonly taskId: TaskId },
): Promise<{ turnId: TurnId; events: StoredEvent[] }> {
  const client = await daemon.client();
  const { turnId } = await client.call('task.prompt', params);
  return { turnId, events: await daemon.eventsUntilEnded(params.taskId, turnId) };
}

export const sessionOf = (events: readonly StoredEvent[]): unknown =>
  events.findLast(({ type }) => type === 'executor.session')?.data['sessionId'];
export const texts = (events: readonly StoredEvent[]): unknown[] =>
  events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text']);
export const startOf = (events: readonly StoredEvent[], turnId: TurnId): StoredEvent =>
  events.find((event) => event.turnId === turnId && event.type === 'turn.started')!;

/** What the offline model was asked on behalf of a prompt: the CLI does not name its conversation. */
export async function asked(daemon: TestDaemon, prompt: string): Promise<LoggedRequest[]> {
  const requests = (await modelRequests(daemon)) as LoggedRequest[];
  return requests.filter(({ path, lastUserText }) => path !== undefined && lastUserText === prompt.slice(0, 200));
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

/** Starts a turn, of a task that there is or a new one, and resolves when its tool runs: a shell that has started what outlives a signal to its parent. */
export async function inTheTool(
  daemon: TestDaemon,
  there?: TaskId,
): Promise<{ turnId: TurnId; taskId: TaskId; pid: number }> {
  const client = await daemon.client();
  const started = join(await newFolder(daemon), 'started');
  const prompt = `{{say: I begin.}} {{run: setsid sleep 600 & touch ${started}; sleep 601}}`;
  const { taskId, turnId } =
    there === undefined
      ? await client.call('task.create', { prompt, executor: 'gemini' })
      : await client.call('task.prompt', { taskId: there, prompt });
  const isOfTurn = (type: StoredEvent['type']) => (event: StoredEvent) =>
    event.turnId === turnId && event.type === type;
  const events = await daemon.eventsUntil(taskId, isOfTurn('tool.called'));
  await vi.waitFor(() => expect(existsSync(started)).toBe(true), { timeout: 10_000, interval: 20 });
  expect((await processesOf(turnId)).length).toBeGreaterThanOrEqual(3);
  return { taskId, turnId, pid: Number(events.find(isOfTurn('turn.running'))!.data['pid']) };
}

let folders = 0;
export async function newFolder(daemon: TestDaemon): Promise<string> {
  const path = join(daemon.dir, `workspace-${(folders += 1)}`);
  await mkdir(path);
  return path;
}

/** A daemon with a credential of its own for Gemini CLI, and the address that it is for. */
export async function withKey({
  url,
  ...key
}: { readonly url: string } & Readonly<Record<string, string>>): Promise<TestDaemon> {
  const daemon = await prepareDaemon();
  const file = join(daemon.dir, 'credentials.json');
  await writeFile(file, JSON.stringify({ gemini: { ...key, GOOGLE_GEMINI_BASE_URL: url } }), { mode: 0o600 });
  await daemon.start({ flags: { 'credentials-file': file } });
  return daemon;
}

type Provider = AsyncDisposable & { readonly url: string };

/** A provider that answers whatever it is asked with an error, the CLI's own questions as well. */
export async function failingProvider(status: number): Promise<Provider> {
  const error = JSON.stringify({ error: { code: status, message: 'never', status: 'INTERNAL' } });
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(status, { 'content-type': 'application/json' }).end(error));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.close().closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** An address at which nobody listens. */
export async function nowhere(): Promise<Provider> {
  await using closed = await failingProvider(500);
  return { url: closed.url, [Symbol.asyncDispose]: async () => {} };
}
