import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { expect } from 'vitest';
import { errorKinds, type ErrorCode } from '../../src/protocol/errors.ts';
import type { StoredEvent } from '../../src/protocol/events.ts';
import type { TaskId, TurnId } from '../../src/protocol/ids.ts';
import { programs, type DaemonOptions, type TestDaemon } from './daemon.ts';
import type { Peer } from './peer.ts';

/** A daemon that has the tools of daemon-with-tools.ts, and an executor that does as it is told. */
export const withTools: DaemonOptions = {
  entry: join(programs, 'daemon-with-tools.ts'),
  flags: { 'executors-binaries': `claude=${join(programs, 'fake-claude.mjs')}` },
  env: { NODE_COMPILE_CACHE: join(tmpdir(), 'harnessd-test-cache', 'tools') },
};

/** A turn that runs until it is let go, and how its executor was told to reach the tools. */
export interface RunningTurn {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
  readonly url: string;
  readonly authorization: string;
  readonly workspace: string;
  end(): Promise<StoredEvent[]>;
}

let files = 0;
export const newPath = (daemon: TestDaemon): string => join(daemon.dir, `file-${(files += 1)}`);

export async function startTurn(daemon: TestDaemon): Promise<RunningTurn> {
  const client = await daemon.client();
  const until = newPath(daemon);
  const { taskId, turnId } = await client.call('task.create', { prompt: `await ${until}\nresult` });
  await daemon.eventsUntil(taskId, ({ type }) => type === 'turn.running');
  const file = join(daemon.stateDir, 'tasks', taskId, 'claude', 'harnessd-mcp.json');
  const { mcpServers } = JSON.parse(await readFile(file, 'utf8')) as {
    mcpServers: { harnessd: { url: string; headers: { Authorization: string } } };
  };
  const { workspace } = await client.call('task.get', { taskId });
  return {
    taskId,
    turnId,
    url: mcpServers.harnessd.url,
    authorization: mcpServers.harnessd.headers.Authorization,
    workspace,
    end: async () => {
      await writeFile(until, '');
      return daemon.eventsUntilEnded(taskId, turnId);
    },
  };
}

export async function connectMcp(
  { url, authorization }: RunningTurn,
  mode: 'legacy' | 'auto' = 'legacy',
): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
  await client.connect(
    new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization } } }),
  );
  return client;
}

export const jsonRpc = (method: string, params: object = {}, id: object = { id: 1 }): string =>
  JSON.stringify({ jsonrpc: '2.0', ...id, method, params });
export const toolCall = (name: string, input: object): string => jsonRpc('tools/call', { name, arguments: input });

/** One bare request, as any program could send it. */
export async function post(turn: Pick<RunningTurn, 'url'>, body: string, headers: object = {}, signal?: AbortSignal) {
  const response = await fetch(turn.url, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
    ...(signal && { signal }),
  });
  return { status: response.status, headers: response.headers, body: await response.text() };
}

export async function lines(path: string): Promise<string[]> {
  return existsSync(path) ? (await readFile(path, 'utf8')).trimEnd().split('\n') : [];
}

/** What is told of the calls of our own tools. */
/** How calls begin and end, without what they say in between. */
export const calls = (events: readonly StoredEvent[]): [string, unknown][] =>
  events
    .filter(({ type }) => type.startsWith('tool.') && type !== 'tool.output')
    .map(({ type, data }) => [type, data['name'] ?? data['reason']]);

/** An error as the table documents it. */
export function told(code: ErrorCode, data: object = {}) {
  const { number, fault, retry } = errorKinds[code];
  return { code: number, message: expect.any(String) as string, data: { code, fault, retry, ...data } };
}

/** How a call began and ended, when it has ended. */
export async function callStory(peer: Peer, callId: string): Promise<[string, StoredEvent['data']][]> {
  const { subscription } = await peer.call('event.subscribe', {});
  const isOf = ({ type, data }: StoredEvent): boolean => data['callId'] === callId && type !== 'tool.output';
  await peer.find(() => peer.events.find((event) => isOf(event) && /finished|interrupted/.test(event.type)));
  await peer.call('event.unsubscribe', { subscription });
  const byId = new Map(peer.events.filter(isOf).map((event) => [event.id, event]));
  return [...byId.values()].map(({ type, data }) => [type, data]);
}
