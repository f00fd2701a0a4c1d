import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { connect } from '../src/client/client.ts';
import { findDaemon } from '../src/client/find-daemon.ts';
import { encodeTerminalFrame } from '../src/protocol/binary-frame.ts';
import type { DaemonError } from '../src/protocol/errors.ts';
import { TaskId, TerminalId } from '../src/protocol/ids.ts';
import { identityOf } from '../src/process/identity.ts';

const taskId = TaskId.parse('t1');
const terminalId = TerminalId.parse('u1');
const live = new AbortController().signal;

interface Asked {
  readonly id: number;
  readonly method: string;
  readonly params: Record<string, unknown>;
}

/** A daemon of a few lines: `answer` says what each request gets. */
async function startServer(answer: (asked: Asked, socket: WebSocket) => void, port = 0) {
  const server = new WebSocketServer({ port, host: '127.0.0.1' });
  await once(server, 'listening');
  const heads: { protocol: string; authorization: string | undefined }[] = [];
  server.on('connection', (socket, request) => {
    heads.push({ protocol: socket.protocol, authorization: request.headers.authorization });
    socket.on('message', (data: Buffer) => answer(JSON.parse(data.toString()) as Asked, socket));
  });
  const stop = async (): Promise<void> => {
    for (const socket of server.clients) socket.terminate();
    await new Promise((resolve) => server.close(resolve));
  };
  onTestFinished(stop);
  const address = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 'secret' };
  return { address, heads, stop, server };
}

function reply(socket: WebSocket, id: number, result: object): void {
  socket.send(JSON.stringify({ jsonrpc: '2.0', id, result }));
}

function event(seq: number) {
  return { id: seq + 100, seq, taskId: 't1', turnId: null, at: 0, type: 'message.added', data: { text: `${seq}` } };
}

function sendEvents(socket: WebSocket, seqs: readonly number[]): void {
  socket.send(
    JSON.stringify({ jsonrpc: '2.0', method: 'events', params: { subscription: 's', events: seqs.map(event) } }),
  );
}

async function errorOf(promise: Promise<unknown>): Promise<DaemonError> {
  return promise.then(
    () => expect.fail('nothing was thrown'),
    (error: unknown) => error as DaemonError,
  );
}

test('a call gets its own answer, whatever the order, with the subprotocol and the token', async () => {
  const held: Asked[] = [];
  const { address, heads } = await startServer((asked, socket) => {
    held.push(asked);
    if (held.length === 2)
      held.reverse().forEach(({ id, params }) => reply(socket, id, { cancelled: [params['taskId']] }));
  });
  await using client = await connect(address);

  const answers = await Promise.all(['a', 'b'].map((id) => client.call('task.cancel', { taskId: TaskId.parse(id) })));

  expect(answers).toEqual([{ cancelled: ['a'] }, { cancelled: ['b'] }]);
  expect(heads).toEqual([{ protocol: 'harness.v1', authorization: 'Bearer secret' }]);
});

test('an error of the wire is a DaemonError with its code and data', async () => {
  const { address } = await startServer(({ id }, socket) =>
    socket.send(
      JSON.stringify({
        jsonrpc: '2.0',
        id,
        error: { code: -32001, message: 'no task t1', data: { code: 'task_not_found', retry: false, hint: 1 } },
      }),
    ),
  );
  await using client = await connect(address);

  const { name, code, message, data } = await errorOf(client.call('task.get', { taskId }));

  expect({ name, code, message, data }).toEqual({
    name: 'DaemonError',
    code: 'task_not_found',
    message: 'no task t1',
    data: { code: 'task_not_found', retry: false, hint: 1 },
  });
});

test('an answer that is not what the method gives is refused', async () => {
  const { address } = await startServer(({ id }, socket) => reply(socket, id, { cancelled: 7 }));
  await using client = await connect(address);
  expect((await errorOf(client.call('task.cancel', { taskId }))).code).toBe('internal');
});

test('an aborted call is cancelled at the daemon, which answers it', async () => {
  const seen: string[] = [];
  const { address } = await startServer(({ method, params }, socket) => {
    seen.push(method);
    if (method !== '$/cancel') return;
    socket.send(
      JSON.stringify({
        jsonrpc: '2.0',
        id: params['id'],
        error: { code: -32800, message: 'cancelled', data: { code: 'request_cancelled' } },
      }),
    );
  });
  await using client = await connect(address);
  const cancelled = new AbortController();
  const answer = errorOf(client.call('task.get', { taskId }, cancelled.signal));
  await expect.poll(() => seen).toEqual(['task.get']);

  cancelled.abort();

  expect((await answer).code).toBe('request_cancelled');
  expect(seen).toEqual(['task.get', '$/cancel']);
});

test('a call in flight fails with its connection, and the next one opens another', async () => {
  let calls = 0;
  const { address, heads } = await startServer(({ id }, socket) =>
    (calls += 1) === 1 ? socket.terminate() : reply(socket, id, { cancelled: [] }),
  );
  await using client = await connect(address);

  expect((await errorOf(client.call('task.cancel', { taskId }))).code).toBe('daemon_unreachable');

  expect(await client.call('task.cancel', { taskId })).toEqual({ cancelled: [] });
  expect(heads).toHaveLength(2);
});

test('terminal.read comes with the bytes of the frame before it', async () => {
  const { address } = await startServer(({ id, params }, socket) => {
    const offset = params['offset'] as number;
    if (offset < 10) socket.send(encodeTerminalFrame({ terminalId, offset, bytes: Buffer.from([0, 255]) }));
    reply(socket, id, { offset, bytes: offset < 10 ? 2 : 0, end: 10, missing: 0 });
  });
  await using client = await connect(address);

  const [some, none] = await Promise.all([8, 10].map((offset) => client.readTerminal({ terminalId, offset })));

  expect(some).toEqual({ offset: 8, bytes: 2, end: 10, missing: 0, data: Buffer.from([0, 255]) });
  expect(none).toEqual({ offset: 10, bytes: 0, end: 10, missing: 0, data: new Uint8Array() });
});

test('a subscriber gets each event once and in order, however often the connection is lost', async () => {
  const cursors: number[] = [];
  const losses = [
    (socket: WebSocket) => socket.terminate(),
    (socket: WebSocket) => socket.close(1012, 'restarting'),
    (socket: WebSocket) =>
      socket.send(
        JSON.stringify({ jsonrpc: '2.0', method: 'subscription.failed', params: { subscription: 's', message: 'x' } }),
      ),
    (socket: WebSocket) => sendEvents(socket, [99]), // a gap is a loss, too
  ];
  const { address, stop } = await startServer(({ id, params }, socket) => {
    const after = params['after'] as number;
    cursors.push(after);
    reply(socket, id, { subscription: 's', latest: 12 });
    sendEvents(socket, [after, after + 1, after + 2].filter(Boolean)); // one that it has, as after a crash of ours
    if (losses.length > 0) setImmediate(() => losses.shift()?.(socket));
    else sendEvents(socket, [after + 3]);
  });
  await using client = await connect(address);
  const seen: number[] = [];

  for await (const { seq } of client.events({ taskId, signal: live })) {
    seen.push(seq!);
    if (seq === 11) break;
  }

  expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(cursors).toEqual([0, 2, 4, 6, 8]);
  await stop();
});

test('a subscriber waits for a daemon that is away, and goes on where it was', async () => {
  const first = await startServer(({ id }, socket) => {
    reply(socket, id, { subscription: 's', latest: 1 });
    sendEvents(socket, [1]);
  });
  await using client = await connect(first.address);
  const lost: string[] = [];
  const events = client.events({ taskId, signal: live, onLost: ({ message }) => lost.push(message) });
  expect((await events.next()).value).toMatchObject({ seq: 1 });

  const next = events.next();
  await first.stop();
  await expect.poll(() => lost.length).toBeGreaterThan(2);
  await startServer(
    ({ id, params }, socket) => {
      reply(socket, id, { subscription: 's', latest: 2 });
      sendEvents(socket, [(params['after'] as number) + 1]);
    },
    Number(new URL(first.address.url).port),
  );

  expect((await next).value).toMatchObject({ seq: 2 });
  await events.return();
});

test('a subscriber that is slow holds few events, and gets them all', async () => {
  const total = 20_000;
  const { address } = await startServer(({ id }, socket) => {
    reply(socket, id, { subscription: 's', latest: total });
    for (let seq = 1; seq <= total; seq += 100)
      sendEvents(
        socket,
        Array.from({ length: 100 }, (_, index) => seq + index),
      );
  });
  await using client = await connect(address);
  let expected = 1;

  for await (const { seq } of client.events({ taskId, signal: live })) {
    expect(seq).toBe(expected);
    if (seq! % 1_000 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
    if (expected === total) break;
    expected += 1;
  }
});

test('what coming back cannot mend is thrown', async () => {
  const refused = await startServer((_asked, socket) => socket.close(4401, 'no valid token'));
  const unknown = await startServer(({ id }, socket) =>
    socket.send(
      JSON.stringify({
        jsonrpc: '2.0',
        id,
        error: { code: -32001, message: 'no task', data: { code: 'task_not_found' } },
      }),
    ),
  );
  const errors = await Promise.all(
    [refused, unknown].map(async ({ address }) => {
      await using client = await connect(address);
      return await errorOf(client.events({ taskId, signal: live }).next());
    }),
  );
  expect(errors.map(({ code }) => code)).toEqual(['daemon_unreachable', 'task_not_found']);
  expect(errors[0]?.message).toContain('(4401): no valid token');
});

test('a subscription ends with its signal', async () => {
  const { address } = await startServer(({ id }, socket) => reply(socket, id, { subscription: 's', latest: 0 }));
  await using client = await connect(address);
  const next = client.events({ taskId, signal: AbortSignal.timeout(50) }).next();
  expect(await next).toEqual({ done: true, value: undefined });
});

test('a state directory leads to its daemon, and says so when there is none', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'harnessd-client-'));
  onTestFinished(() => rm(stateDir, { recursive: true, force: true }));
  const presence = {
    pid: process.pid,
    startTime: identityOf(process.pid)!.startTime,
    url: 'ws://127.0.0.1:1/v1/rpc',
    version: '1',
    startedAt: 0,
  };
  const gone = spawn('true');
  await once(gone, 'exit');

  const none = await errorOf(findDaemon(stateDir));
  await writeFile(join(stateDir, 'daemon.json'), JSON.stringify({ ...presence, pid: gone.pid }));
  const dead = await errorOf(findDaemon(stateDir));
  await writeFile(join(stateDir, 'daemon.json'), JSON.stringify({ ...presence, startTime: '1' }));
  const reused = await errorOf(findDaemon(stateDir));
  await writeFile(join(stateDir, 'daemon.json'), JSON.stringify(presence));
  await writeFile(join(stateDir, 'token'), 'secret\n');

  expect([none.code, dead.code, reused.code]).toEqual(Array(3).fill('daemon_unreachable'));
  expect(none.message).toContain('start one with "harnessd serve"');
  expect(dead.message).toContain(`its process ${gone.pid} is gone`);
  const found = await findDaemon(stateDir);
  expect(found).toEqual({ ...presence, token: 'secret' });
  expect((await errorOf(connect(found))).message).toMatch(
    /^no daemon answers at ws:\/\/127\.0\.0\.1:1\/v1\/rpc: .*ECONNREFUSED/,
  );
});
