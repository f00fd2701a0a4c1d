import { existsSync } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeTerminalFrame } from '../src/protocol/binary-frame.ts';
import { errorKinds, type ErrorCode } from '../src/protocol/errors.ts';
import { programs, startDaemon, type TestDaemon } from './support/daemon.ts';
import { http, openPeer, type Frame, type Peer } from './support/peer.ts';

const fakeClaude = join(programs, 'fake-claude.mjs');
const frameBytes = 2 * 1024 * 1024;
let daemon: TestDaemon;
let peer: Peer;

beforeAll(async () => {
  daemon = await startDaemon({
    flags: {
      'executors-binaries': `claude=${fakeClaude}`,
      'limits-frame-bytes': frameBytes,
      'limits-peers': 5,
      'limits-requests-per-peer': 4,
      'limits-subscriptions-per-peer': 3,
      'limits-ping-ms': 100,
      'limits-pong-ms': 1000,
      'listen-allowed-origins': 'https://page.example',
      'listen-allowed-hosts': 'Daemon.example',
    },
  });
  peer = await openPeer(daemon);
});
afterAll(async () => {
  await peer[Symbol.asyncDispose]();
  await daemon[Symbol.asyncDispose]();
});

/** An error as the table documents it. */
function told(code: ErrorCode, data: object = {}) {
  const { number, fault, retry } = errorKinds[code];
  return { code: number, message: expect.any(String) as string, data: { code, fault, retry, ...data } };
}

async function runTask(params: object): Promise<{ taskId: string; turnId: string }> {
  const { taskId, turnId } = (await peer.call('task.create', params)) as { taskId: string; turnId: string };
  await ended(turnId);
  return { taskId, turnId };
}

async function ended(turnId: string) {
  const { subscription } = await peer.call('event.subscribe', {});
  const event = await peer.find(() =>
    peer.events.find((event) => event.turnId === turnId && event.type === 'turn.ended'),
  );
  await peer.call('event.unsubscribe', { subscription });
  return event.data;
}

test.for<[string, string, object]>([
  ['what is not JSON', '{"jsonrpc":', told('parse_error')],
  ['JSON that nests a million deep', '['.repeat(1_000_000), told('parse_error')],
  ['a number', '7', told('invalid_request')],
  ['no version', '{"id": 1, "method": "daemon.info"}', told('invalid_request')],
  ['an id of a wrong kind', '{"jsonrpc": "2.0", "id": {}, "method": "daemon.info"}', told('invalid_request')],
  ['a batch', '[{"jsonrpc": "2.0", "id": 1, "method": "daemon.info"}]', told('invalid_request')],
])('[P10.1] %s is refused, and the connection goes on', async ([, text, error]) => {
  await using peer = await openPeer(daemon);
  peer.send(text);
  expect(await peer.answer(null)).toEqual({ jsonrpc: '2.0', id: null, error });
  expect(await peer.call('daemon.info')).toMatchObject({ protocol: 'harness.v1' });
});

test('[P10.1] a method that there is not is refused, also one that every object has', async () => {
  for (const method of ['task.fly', 'toString', '__proto__', '']) {
    expect((await peer.request(method)).error).toEqual(
      told('method_not_found', { methods: expect.arrayContaining(['task.create']) as string[] }),
    );
  }
});

test('[P10.1] wrong params are refused with each wrong field, and nothing is recorded', async () => {
  const { latestId } = await peer.call('daemon.info');
  const file = join(daemon.dir, 'file');
  await writeFile(file, '');
  const params = (paths: string[]) => ({ code: 'invalid_params', paths });
  const refused: [string, unknown, object][] = [
    ['daemon.info', { verbose: true }, params(['verbose'])],
    ['daemon.info', [1], params([''])],
    ['task.create', undefined, params(['prompt'])],
    ['task.create', { prompt: 7, timeoutMs: 1, nonsense: 1 }, params(['prompt', 'timeoutMs', 'nonsense'])],
    ['task.create', { prompt: '' }, params(['prompt', 'prompt'])],
    ['task.create', { prompt: ' \n\t' }, params(['prompt'])],
    ['task.create', { prompt: 'a\0b' }, params(['prompt'])],
    ['task.create', { prompt: 'x'.repeat(100_001) }, params(['prompt'])],
    ['task.create', { prompt: '🙂'.repeat(100_001) }, params(['prompt'])],
    ['task.create', { prompt: 'x', id: '../../etc' }, params(['id'])],
    ['task.create', { prompt: 'x', id: '🙂' }, params(['id'])],
    ['task.create', { prompt: 'x', model: '--dangerous' }, params(['model'])],
    ['task.create', { prompt: 'x', workspace: 'relative' }, { code: 'workspace_invalid', paths: [] }],
    ['task.create', { prompt: 'x', workspace: '' }, { code: 'workspace_invalid', paths: [] }],
    ['task.create', { prompt: 'x', workspace: join(daemon.dir, 'none') }, { code: 'workspace_invalid', paths: [] }],
    ['task.create', { prompt: 'x', workspace: file }, { code: 'workspace_invalid', paths: [] }],
    ['task.create', { prompt: 'x', executor: 'hal' }, { code: 'executor_unknown', paths: [] }],
    ['task.create', { prompt: 'x', executor: '__proto__' }, { code: 'executor_unknown', paths: [] }],
    ['task.get', { taskId: 'a b' }, params(['taskId'])],
    ['task.list', { limit: 0 }, params(['limit'])],
    ['event.subscribe', { after: -1 }, params(['after'])],
    ['event.subscribe', { after: 1.5 }, params(['after'])],
    ['event.subscribe', { after: Number(latestId) + 1 }, { code: 'cursor_ahead', paths: [] }],
    ['event.unsubscribe', { subscription: 'none' }, { code: 'subscription_not_found', paths: [] }],
    ['terminal.read', { terminalId: 'none' }, { code: 'terminal_not_found', paths: [] }],
    ['terminal.read', { terminalId: 'none', maxBytes: 1_048_577 }, params(['maxBytes'])],
    ['$/cancel', {}, params(['id'])],
  ];
  for (const [method, given, refusal] of refused) {
    expect([method, given, await peer.refusal(method, given)]).toEqual([method, given, refusal]);
  }
  expect(await peer.call('daemon.info')).toMatchObject({ latestId });
  expect(await peer.call('task.list')).toEqual({ tasks: [], more: false });
});

test('[P10.1] a task that there is not is named so by every method that takes one', async () => {
  const refused: [string, object][] = [
    ['task.get', {}],
    ['task.prompt', { prompt: 'x' }],
    ['task.cancel', {}],
    ['task.delete', {}],
    ['task.subscribe', {}],
    ['terminal.list', {}],
  ];
  for (const [method, params] of refused)
    expect([method, await peer.refusal(method, { taskId: 'none', ...params })]).toEqual([
      method,
      { code: 'task_not_found', paths: [] },
    ]);
  expect((await peer.refusal('task.list', { before: 'none' })).code).toBe('task_not_found');
});

test('a prompt of exactly 100,000 characters of 4 bytes is taken, and one that begins with - is a prompt', async () => {
  const longest = `say --help\n${'\n'.repeat(100_000 - 11 - 6)}result`;
  expect(longest).toHaveLength(100_000);
  const { taskId } = (await peer.call('task.create', { prompt: '🙂'.repeat(100_000) })) as { taskId: string };
  await peer.call('task.cancel', { taskId });
  const { turnId } = (await peer.call('task.create', { prompt: longest })) as { turnId: string };
  expect(await ended(turnId)).toMatchObject({ outcome: 'succeeded' });
  const dashed = (await peer.call('task.create', { prompt: '--version' })) as { turnId: string };
  await ended(dashed.turnId);
  const queued = peer.events.find(({ turnId, type }) => turnId === dashed.turnId && type === 'turn.queued');
  expect(queued?.data).toMatchObject({ prompt: '--version' });
});

test('[P10.2] a frame over the limit closes its connection with 1009 and no other', async () => {
  await using other = await openPeer(daemon);
  await using greedy = await openPeer(daemon);
  greedy.send(`"${'x'.repeat(frameBytes)}"`);
  expect(await greedy.closed).toMatchObject({ code: 1009 });
  expect(await other.call('daemon.info')).toMatchObject({ protocol: 'harness.v1' });
});

test('[P10.1] a binary frame closes its connection with 4400, and text that is not UTF-8 with 1007', async () => {
  await using peer = await openPeer(daemon);
  peer.send(Buffer.from('{}'));
  expect(await peer.closed).toMatchObject({ code: 4400 });
  await using broken = await openPeer(daemon);
  broken.socket.send(Buffer.from([0xff, 0xfe]), { binary: false });
  expect(await broken.closed).toMatchObject({ code: 1007 });
});

test('[P6.5] without the token nothing is answered: 4401', async () => {
  const { token } = await daemon.address();
  for (const authorization of [null, 'Bearer nonsense', `Basic ${token}`, `Bearer ${token}x`, token, 'Bearer ']) {
    await using stranger = await openPeer(daemon, { authorization });
    stranger.send({ jsonrpc: '2.0', id: 1, method: 'daemon.info' });
    expect(await stranger.closed).toEqual({ code: 4401, reason: 'no valid token' });
    expect(stranger.frames).toEqual([]);
  }
});

test('[P6.5] a web page gets nothing: a foreign Origin or Host is refused, on upgrades and requests alike', async () => {
  const { url, token } = await daemon.address();
  const { port } = new URL(url);
  const upgrade = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    'sec-websocket-protocol': 'harness.v1',
    authorization: `Bearer ${token}`,
  };
  for (const origin of ['https://evil.example', `http://127.0.0.1:${port}`, 'null', 'https://page.example.evil'])
    for (const path of ['/v1/rpc', '/healthz', '/readyz']) {
      expect(await http(daemon, path, { headers: { origin } })).toMatchObject({ status: 403 });
      expect(await http(daemon, path, { headers: { ...upgrade, origin } })).toMatchObject({ status: 403 });
    }
  for (const host of [`evil.example:${port}`, 'evil.example', '127.0.0.1', '127.0.0.1:1']) {
    expect(await http(daemon, '/healthz', { headers: { host } })).toMatchObject({ status: 403 });
    expect(await http(daemon, '/v1/rpc', { headers: { ...upgrade, host } })).toMatchObject({ status: 403 });
  }
  for (const host of ['daemon.EXAMPLE', `localhost:${port}`, `LOCALHOST:${port}`, `[::1]:${port}`])
    expect(await http(daemon, '/healthz', { headers: { host } })).toMatchObject({ status: 200 });
  await using allowed = await openPeer(daemon, { socket: { headers: { origin: 'https://page.example' } } });
  expect(await allowed.call('daemon.info')).toMatchObject({ protocol: 'harness.v1' });
});

test('an upgrade without the subprotocol is answered 400, and elsewhere 404', async () => {
  await expect(openPeer(daemon, { protocols: [] })).rejects.toThrow('Unexpected server response: 400');
  await expect(openPeer(daemon, { protocols: ['harness.v2'] })).rejects.toThrow('Unexpected server response: 400');
  await expect(openPeer(daemon, { path: 'x' })).rejects.toThrow('Unexpected server response: 404');
});

test('[P6.5] /healthz and the bare /readyz need no token; what is behind it does', async () => {
  const { token } = await daemon.address();
  const authorization = `Bearer ${token}`;
  expect(await http(daemon, '/healthz')).toEqual({ status: 200, body: '{"status":"alive"}\n' });
  expect(await http(daemon, '/readyz')).toEqual({ status: 200, body: '{"status":"ready"}\n' });
  expect(await http(daemon, '/readyz', { headers: { authorization: 'Bearer x' } })).toMatchObject({ status: 401 });
  const seen = await http(daemon, '/readyz', { headers: { authorization } });
  expect(JSON.parse(seen.body)).toMatchObject({ status: 'ready', components: { store: 'ok', isolation: 'none' } });
  expect(await http(daemon, '/healthz', { method: 'POST' })).toMatchObject({ status: 405 });
  expect(await http(daemon, '/readyz', { method: 'HEAD' })).toEqual({ status: 200, body: '' });
  expect(await http(daemon, '/v1/rpc')).toMatchObject({ status: 426 });
  expect(await http(daemon, '/etc/passwd', { headers: { authorization } })).toMatchObject({ status: 404 });
});

test('[P10.2] a peer that answers no ping is closed with 4408, one that does stays', async () => {
  await using deaf = await openPeer(daemon, { socket: { autoPong: false } });
  await using slow = await openPeer(daemon);
  expect(await deaf.closed).toMatchObject({ code: 4408 });
  expect(await slow.call('daemon.info')).toMatchObject({ protocol: 'harness.v1' });
});

test('[P10.2] too many connections, requests and subscriptions are refused, and there is room again afterwards', async () => {
  const held = await Promise.all([1, 2, 3, 4].map(() => openPeer(daemon)));
  await using fifth = await openPeer(daemon);
  expect(await fifth.closed).toMatchObject({ code: 4429 });
  for (const one of held.slice(1)) await one[Symbol.asyncDispose]();

  await using busy = held[0]!;
  const names = [];
  for (let n = 0; n < 3; n += 1) names.push((await busy.call('event.subscribe')).subscription);
  expect(await busy.refusal('event.subscribe')).toMatchObject({ code: 'too_many_requests' });
  await busy.call('event.unsubscribe', { subscription: names[0] });
  expect(await busy.call('event.subscribe')).toMatchObject({ subscription: expect.any(String) as string });

  const answers = await Promise.all(
    [1, 2, 3, 4, 5].map((n) => busy.request('task.create', { id: `busy${n}`, prompt: 'result' })),
  );
  expect(answers.map(({ error }) => error?.data['code'])).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
    'too_many_requests',
  ]);
  for (const { result } of answers.slice(0, 4)) await ended(String(result!['turnId']));
  expect(await busy.call('daemon.info')).toMatchObject({ protocol: 'harness.v1' });
});

test('a request in flight can be cancelled, its id is not used twice, and a notification is not answered', async () => {
  await using peer = await openPeer(daemon);
  const create = {
    jsonrpc: '2.0',
    id: 'one',
    method: 'task.create',
    params: { id: 'cancelled-request', prompt: 'result' },
  };
  peer.send(create);
  peer.send({ jsonrpc: '2.0', id: 'one', method: 'daemon.info' });
  expect((await peer.answer('one')).error).toMatchObject(told('invalid_request'));
  peer.frames.length = 0;
  await peer.answer('one');
  peer.frames.length = 0;
  peer.send({ ...create, id: 'two' });
  peer.send({ jsonrpc: '2.0', method: '$/cancel', params: { id: 'two' } });
  peer.send({ jsonrpc: '2.0', method: 'task.create', params: { prompt: '' } });
  peer.send({ jsonrpc: '2.0', method: 'no.such' });
  peer.send({ jsonrpc: '2.0', id: 'three', method: '$/cancel', params: { id: 'two' } });
  await peer.answer('three');
  await peer.answer('two');
  expect(peer.frames.toSorted((a, b) => String((b as Frame).id).localeCompare(String((a as Frame).id)))).toEqual([
    { jsonrpc: '2.0', id: 'two', error: told('request_cancelled') },
    { jsonrpc: '2.0', id: 'three', result: {} },
  ]);
});

test('executor.list, daemon.info and task.list tell what there is, page by page', async () => {
  expect(await peer.call('executor.list')).toMatchObject({
    executors: expect.arrayContaining([expect.objectContaining({ executor: 'claude', available: true })]) as object[],
  });
  expect(await peer.call('daemon.info')).toMatchObject({
    pid: daemon.pid,
    node: process.versions.node,
    isolation: 'none',
  });
  const all = (await peer.call('task.list', { limit: 500 })) as { tasks: { taskId: string }[] };
  const paged: string[] = [];
  for (let more = true; more;) {
    const page = (await peer.call('task.list', { limit: 2, before: paged.at(-1) })) as typeof all & { more: boolean };
    paged.push(...page.tasks.map(({ taskId }) => taskId));
    more = page.more;
  }
  expect(paged.length).toBeGreaterThan(4);
  expect(paged).toEqual(all.tasks.map(({ taskId }) => taskId));
});

test('terminal.read gives the bytes in one binary frame before the answer, from any offset', async () => {
  const { taskId, turnId } = await runTask({ prompt: 'error grüße 🙂\nresult' });
  const { terminals } = (await peer.call('terminal.list', { taskId })) as {
    terminals: { terminalId: string; bytes: number; running: boolean }[];
  };
  const whole = Buffer.from('grüße 🙂\r\n');
  expect(terminals).toEqual([{ terminalId: turnId, taskId, bytes: whole.length, running: false }]);
  for (const [offset, maxBytes] of [
    [0, 65_536],
    [3, 2],
    [whole.length - 1, 1],
  ] as const) {
    peer.frames.length = 0;
    const bytes = whole.subarray(offset, offset + maxBytes);
    expect(await peer.call('terminal.read', { terminalId: turnId, offset, maxBytes })).toEqual({
      offset,
      bytes: bytes.length,
      end: whole.length,
      missing: 0,
    });
    const [frame] = peer.frames;
    expect(decodeTerminalFrame(frame as Buffer)).toEqual({ terminalId: turnId, offset, bytes });
  }
  for (const offset of [whole.length, whole.length + 1, Number.MAX_SAFE_INTEGER]) {
    peer.frames.length = 0;
    expect(await peer.call('terminal.read', { terminalId: turnId, offset })).toEqual({
      offset,
      bytes: 0,
      end: whole.length,
      missing: 0,
    });
    expect(peer.frames).toHaveLength(1);
  }
});

test('[P9.1] task.create with the same id acts once, with another body it is a conflict', async () => {
  const body = { id: 'once', prompt: 'say hello\nresult', workspace: daemon.dir };
  const answers = await Promise.all([1, 2, 3].map(() => peer.call('task.create', body)));
  expect(answers[1]).toEqual(answers[0]);
  expect(answers[2]).toEqual(answers[0]);
  await ended(String(answers[0]!['turnId']));
  expect(await peer.call('task.create', { workspace: daemon.dir, prompt: body.prompt, id: 'once' })).toEqual(
    answers[0],
  );
  for (const other of [{ prompt: 'result' }, { model: 'claude-opus-4.6' }, { workspace: '/tmp' }, { timeoutMs: 5000 }])
    expect(await peer.refusal('task.create', { ...body, ...other })).toMatchObject({ code: 'conflict' });
  expect((await peer.call('task.get', { taskId: 'once' })).turns).toHaveLength(1);
});

test('[P9.2] task.prompt with the same id acts once, with another body it is a conflict; without an id it is another turn', async () => {
  const { taskId } = await runTask({ prompt: 'result' });
  const body = { taskId, id: 'again', prompt: 'say hello\nresult' };
  const answers = await Promise.all([1, 2, 3].map(() => peer.call('task.prompt', body)));
  expect(answers[1]).toEqual(answers[0]);
  expect(answers[2]).toEqual(answers[0]);
  expect(await peer.refusal('task.prompt', { ...body, prompt: 'result' })).toMatchObject({ code: 'conflict' });
  const { turnId } = await peer.call('task.prompt', { taskId, prompt: body.prompt });
  await ended(String(turnId));
  expect(await peer.call('task.prompt', body)).toEqual(answers[0]);
  const { turns } = (await peer.call('task.get', { taskId })) as { turns: { turnId: string; ordinal: number }[] };
  expect(turns.map(({ turnId, ordinal }) => [turnId, ordinal])).toEqual([
    [expect.any(String), 1],
    [answers[0]!['turnId'], 2],
    [turnId, 3],
  ]);
});

test('[P1.3] a deleted task leaves nothing but its ids: no gap, no file, and no second use', async () => {
  const { taskId, turnId } = await runTask({ id: 'doomed', prompt: 'say secret plans\nerror noise\nresult' });
  const running = (await peer.call('task.create', { prompt: 'sleep 60000' })) as { taskId: string; turnId: string };
  expect(await peer.refusal('task.delete', { taskId: running.taskId })).toMatchObject({ code: 'task_active' });
  await peer.call('task.cancel', { taskId: running.taskId });
  await ended(running.turnId);
  const folders = ['tasks', 'workspaces'].map((name) => join(daemon.stateDir, name, taskId));
  folders.push(join(daemon.stateDir, 'terminals', turnId));
  expect(folders.map(existsSync)).toEqual([true, true, true]);

  expect(await peer.call('task.delete', { taskId })).toEqual({ deleted: true });

  expect(folders.map(existsSync)).toEqual([false, false, false]);
  for (const method of ['task.get', 'task.delete', 'task.subscribe', 'task.cancel'])
    expect(await peer.refusal(method, { taskId })).toMatchObject({ code: 'task_not_found' });
  expect(await peer.refusal('task.prompt', { taskId, prompt: 'x' })).toMatchObject({ code: 'task_not_found' });
  expect(await peer.refusal('terminal.read', { terminalId: turnId })).toMatchObject({ code: 'terminal_not_found' });
  expect(await peer.refusal('task.create', { id: taskId, prompt: 'x' })).toMatchObject({ code: 'conflict' });
  await using reader = await openPeer(daemon);
  const { latest } = await reader.call('event.subscribe');
  await reader.find(() => (reader.events.at(-1)?.id === latest ? true : undefined));
  expect(reader.events.map(({ id }) => id)).toEqual(Array.from({ length: Number(latest) }, (_, n) => n + 1));
  const left = reader.events.filter((event) => event.taskId === taskId);
  expect(left.map(({ seq }) => seq)).toEqual(left.map((_, n) => n + 1));
  expect(new Set(left.slice(0, -1).map(({ type, data }) => `${type} ${JSON.stringify(data)}`))).toEqual(
    new Set(['event.erased {}']),
  );
  expect(left.at(-1)?.type).toBe('task.deleted');
});

test('[P11.2] what the daemon keeps is private: directories 0700, files 0600', async () => {
  const { turnId } = await runTask({ prompt: 'error x\nresult', workspace: daemon.dir });
  await expect.poll(() => existsSync(join(daemon.stateDir, 'turns', turnId))).toBe(false); // it goes just after the ending
  const open: string[] = [];
  const entries = await readdir(daemon.stateDir, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (path.includes('/workspaces/') || path.includes('/compile-cache')) continue; // the executors' own, and code
    const found = await stat(path).catch(() => undefined); // a checkpoint may have dropped it
    if (found && (found.mode & 0o077) !== 0) open.push(`${(found.mode & 0o777).toString(8)} ${path}`);
  }
  expect((await stat(daemon.stateDir)).mode & 0o777).toBe(0o700);
  expect(open).toEqual([]);
  expect(daemon.log).not.toContain((await daemon.address()).token);
});
