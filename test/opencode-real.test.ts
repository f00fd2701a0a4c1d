import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { glob, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TaskId, TurnId } from '../src/protocol/ids.ts';
import { answeringProvider, type Asked } from './support/answering-provider.ts';
import { modelRequests, startDaemon, type ModelRequest, type TestDaemon } from './support/daemon.ts';

/* The installed OpenCode, run by a real daemon; only the model is scripted. It takes 1 GB, so that never two run at once. */

const executor = 'opencode';
const retryMs = 5000; // two announced retries
const idleMs = 12_000; // its start alone may take several seconds
const flags = { 'turn-concurrency': 1, 'turn-retry-ms': retryMs };

const ofType = (events: readonly StoredEvent[], type: string): StoredEvent['data'][] =>
  events.filter((event) => event.type === type).map(({ data }) => data);
const texts = (events: readonly StoredEvent[]): unknown[] => ofType(events, 'message.added').map(({ text }) => text);
const requestsOf = async (daemon: TestDaemon): Promise<ModelRequest[]> =>
  (await modelRequests(daemon)).filter(({ path }) => path !== undefined);

/** Processes of one turn, by the variable that they inherit. */
async function processesOf(turnId: TurnId): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(`HARNESSD_TURN=${turnId}`)) found.push(Number(pid));
  }
  return found;
}

let folders = 0;
async function folderOf(daemon: TestDaemon): Promise<string> {
  const path = join(daemon.dir, `workspace-${(folders += 1)}`);
  await mkdir(path);
  return path;
}

interface Begun {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
  readonly pid: number;
  readonly containment: unknown;
}

async function begin(daemon: TestDaemon, prompt: string, until: string): Promise<Begun> {
  const client = await daemon.client();
  const workspace = await folderOf(daemon);
  const { taskId, turnId } = await client.call('task.create', { executor, prompt, workspace });
  const events = await daemon.eventsUntil(taskId, ({ type }) => type === until);
  const [{ pid, containment } = {}] = ofType(events, 'turn.running');
  return { taskId, turnId, pid: Number(pid), containment };
}

/** Starts a turn and resolves when its tool runs: a shell that has started what outlives a signal to its parent. */
async function inTheTool(daemon: TestDaemon): Promise<Begun> {
  const started = join(daemon.dir, `started-${(folders += 1)}`);
  const begun = await begin(daemon, `{{run: setsid sleep 600 & touch ${started}; sleep 601}}`, 'tool.called');
  await vi.waitFor(() => expect(existsSync(started)).toBe(true), { timeout: 10_000, interval: 20 });
  expect((await processesOf(begun.turnId)).length).toBeGreaterThanOrEqual(3);
  return begun;
}

/** What it is to leave behind when it is ended in the midst of a tool. */
function endsWithAllItStarted(daemonOf: () => TestDaemon, level: 'cgroup' | 'weak'): void {
  test.for([
    ['a cancel', undefined, { outcome: 'cancelled', reason: 'by_peer' }],
    ['SIGINT', 'SIGINT', { outcome: 'failed', reason: 'executor_killed', evidence: { signal: 'SIGINT' } }],
    ['SIGTERM', 'SIGTERM', { outcome: 'failed', reason: 'executor_killed', evidence: { signal: 'SIGTERM' } }],
    ['SIGKILL', 'SIGKILL', { outcome: 'failed', reason: 'executor_killed', evidence: { signal: 'SIGKILL' } }],
  ] as const)(`[P3.3] [P3.5] %s in the midst of a tool ends all, contained by ${level}`, async (row, { skip }) => {
    const [, signal, ending] = row;
    const daemon = daemonOf();
    const { taskId, turnId, pid, containment } = await inTheTool(daemon);
    const asked = Date.now();
    if (signal === undefined || containment !== level) await (await daemon.client()).call('task.cancel', { taskId });
    else process.kill(pid, signal);
    const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
    expect(await processesOf(turnId)).toEqual([]);
    if (containment !== level) return skip('needs a writable cgroup v2 with cgroup.kill');
    expect(ended.at - asked).toBeLessThan(2000 + 2000); // the grace time of these tests, and some for a slow machine
    expect(ended.data).toMatchObject(ending);
  });
}

interface Row {
  readonly name: string;
  readonly prompt: string;
  readonly model?: string;
  readonly reason: string;
  readonly evidence?: object;
  /** The daemon puts an end to it. */
  readonly isStopped?: boolean;
}
const status = (code: number, reason: string, isStopped = false): Row => ({
  name: `status ${code}`,
  prompt: `{{status: ${code}}}`,
  reason,
  evidence: { httpStatus: code },
  isStopped,
});

const rows: readonly Row[] = [
  status(400, 'invalid_request'),
  status(401, 'auth'),
  status(402, 'billing'),
  status(403, 'auth'),
  status(404, 'model_not_found'),
  status(429, 'rate_limited', true),
  status(500, 'provider_error', true),
  status(529, 'provider_error', true),
  { name: 'a dropped connection', prompt: '{{drop}}', reason: 'provider_unreachable', isStopped: true },
  { name: 'a stream cut', prompt: '{{say: Half of it.}} {{cut}}', reason: 'stream_cut', isStopped: true },
  { name: 'answers that end unfinished', prompt: '{{early-end}}', reason: 'stream_cut', isStopped: true },
];

describe('OpenCode', { timeout: 60_000 }, () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startDaemon({ flags })));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P3.1] [P6.2] changes a file, sees no secret, tells the story, and a follow-up goes on with it', async () => {
    const workspace = await folderOf(daemon);
    await writeFile(join(workspace, 'notes.txt'), 'before\n');
    const command = 'cat notes.txt; echo after > notes.txt; env | sort; cat "$OPENCODE_CONFIG"; sleep 1';
    const prompt = `{{think: Hm.}} {{say: I change it.}} {{run: ${command}}} {{say: Changed.}}`;
    const { events, ended, taskId } = await daemon.run({ executor, prompt, workspace });
    expect(await readFile(join(workspace, 'notes.txt'), 'utf8')).toBe('after\n');
    expect(ended.data).toMatchObject({
      outcome: 'succeeded',
      reason: 'completed',
      evidence: { exitCode: 0, signal: null, saidResult: true },
    });
    const told = events.map(({ type }) => type);
    expect(told.slice(told.indexOf('turn.running'))).toEqual([
      'turn.running',
      'executor.session',
      'thought.added',
      'message.added',
      'tool.called',
      'tool.finished',
      'usage.reported',
      'message.added',
      'usage.reported',
      'turn.ended',
    ]);
    expect(texts(events)).toEqual(['I change it.', 'Changed.']);
    const output = String(ofType(events, 'tool.finished')[0]!['output']);
    const [environment, config] = output.split('\n{');
    expect(environment).toMatch(/^before\n/);
    expect(environment).not.toMatch(/^XDG_|\*{8}|_KEY=|_TOKEN=/m);
    expect(environment).toContain(`HOME=${daemon.home}\n`);
    expect(config).toMatch(/"apiKey":"\*+"/);
    expect(config).toMatch(/"Bearer \*+"/);
    const first = await requestsOf(daemon);
    expect(first.map(({ path, auth, model }) => [path, auth, model])).toEqual(
      Array.from({ length: 2 }, () => ['/v1/chat/completions', 'bearer', 'gemini-3.1-pro-preview']),
    );

    const client = await daemon.client();
    const { turnId } = await client.call('task.prompt', { taskId, prompt: '{{say: And on.}}' });
    const all = await daemon.eventsUntilEnded(taskId, turnId);
    const session = ofType(events, 'executor.session')[0]!['sessionId'];
    expect(all.at(-1)!.data['outcome']).toBe('succeeded');
    expect(ofType(all, 'turn.started')[1]!['resumes']).toBe(session);
    expect(ofType(all, 'executor.session')).toEqual([{ sessionId: session }, { sessionId: session }]);
    const [again, ...more] = (await requestsOf(daemon)).slice(2);
    expect(more).toEqual([]);
    expect(again!.messages).toBeGreaterThan(first[1]!.messages!);
  });

  test.for(rows)(
    '[P3.2] meets $name: the turn ends in time, as $reason, with evidence',
    async ({ prompt, reason, evidence = {}, isStopped = false }) => {
      const { events, ended, turnId } = await daemon.run({ executor, prompt });
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason,
        evidence: { saidResult: !isStopped, message: expect.stringMatching(/./) as unknown, ...evidence },
      });
      expect(ofType(events, 'turn.stopping')).toEqual(isStopped ? [{ cause: 'retry_limit' }] : []);
      expect(ended.at - events.find(({ type }) => type === 'turn.started')!.at).toBeLessThan(30_000);
      expect(ofType(events, 'executor.unparsed')).toEqual([]);
      expect(await processesOf(turnId)).toEqual([]);
    },
  );

  test('[P3.2] overcomes a stream that is cut once', async () => {
    const prompt = '{{say: Half.}} {{cut: once}} {{run: true}} {{say: Recovered.}}';
    const { events, ended } = await daemon.run({ executor, prompt });
    expect(ended.data['outcome']).toBe('succeeded');
    expect(ofType(events, 'retry.announced')).toHaveLength(1);
    expect(texts(events).at(-1)).toBe('Recovered.');
  });

  endsWithAllItStarted(() => daemon, 'cgroup');
});

describe('OpenCode, weakly contained', { timeout: 60_000 }, () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await startDaemon({ flags: { ...flags, containment: 'weak', 'turn-idle-ms': idleMs } });
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test.for([
    ['{{hang}}', 1],
    ['{{say: words}} {{stall}}', 2],
  ] as const)(
    '[P3.2] [P3.4] names its session, runs alone, and is ended when its provider says no more: %s',
    async ([prompt, requests]) => {
      const { taskId, turnId, pid } = await begin(daemon, prompt, 'executor.session');
      await vi.waitFor(async () => expect(await requestsOf(daemon)).toHaveLength(requests), { timeout: 30_000 });
      expect(await processesOf(turnId)).toEqual([pid]); // else it would never count as idle
      const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
      expect(ended.data).toMatchObject({ outcome: 'timed_out', reason: 'idle' });
    },
  );

  endsWithAllItStarted(() => daemon, 'weak');
});

test(
  '[P3.2] [P6.2] OpenCode finds nobody where its provider is to listen, and leaves its key nowhere',
  { timeout: 60_000 },
  async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    const key = 'sk-or-v1-nobody-hears-of-it';
    const env = { OPENROUTER_API_KEY: key, OPENROUTER_BASE_URL: `http://127.0.0.1:${port}` };
    await using daemon = await startDaemon({ flags, env });
    const { ended } = await daemon.run({ executor, prompt: 'hello' });
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'provider_unreachable' });
    const holders: string[] = [];
    for await (const path of glob('**', { cwd: daemon.stateDir })) {
      const bytes = await readFile(join(daemon.stateDir, path)).catch(() => Buffer.alloc(0));
      if (bytes.includes(key)) holders.push(path);
    }
    expect(holders).toEqual([]);
    expect(daemon.log).not.toContain(key);
  },
);

test('[P6.2] OpenCode takes a key and a path as they are written', { timeout: 60_000 }, async () => {
  const asked: Asked[] = [];
  await using provider = await answeringProvider((request) => {
    asked.push(request);
    return { status: 401, body: '{}' };
  });
  const key = 'sk-or-v1-{env:HOME}{file:/etc/hostname}';
  const env = { OPENROUTER_API_KEY: key, OPENROUTER_BASE_URL: provider.url };
  await using daemon = await startDaemon({ flags, env });
  const workspace = join(daemon.dir, 'a {file:nope} {env:HOME}');
  await mkdir(workspace);
  await writeFile(join(workspace, 'AGENTS.md'), 'Speak like a ferryman.');
  const { ended } = await daemon.run({ executor, prompt: 'hello', workspace });
  expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'auth' });
  expect(asked.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${key}`]);
  expect(asked[0]!.body).toContain('Speak like a ferryman.');
});
