import { glob, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TaskId, TurnId } from '../src/protocol/ids.ts';
import type { ParamsIn } from '../src/protocol/methods.ts';
import { modelRequests, prepareDaemon, startDaemon, type ModelRequest, type TestDaemon } from './support/daemon.ts';

/* The installed Claude Code, run by a real daemon; only the model is scripted. */

type Run = Awaited<ReturnType<TestDaemon['run']>>;

const sessionOf = (events: readonly StoredEvent[]): unknown =>
  events.findLast(({ type }) => type === 'executor.session')?.data['sessionId'];
const texts = (events: readonly StoredEvent[]): unknown[] =>
  events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text']);
const startOf = (events: readonly StoredEvent[], turnId: TurnId): StoredEvent =>
  events.find((event) => event.turnId === turnId && event.type === 'turn.started')!;

type LoggedRequest = ModelRequest & { readonly bytes: number };

async function requestsOf(daemon: TestDaemon, session: unknown): Promise<LoggedRequest[]> {
  return ((await modelRequests(daemon)) as LoggedRequest[]).filter(
    (entry) => entry.path !== undefined && entry.session === session,
  );
}

async function prompted(
  daemon: TestDaemon,
  params: ParamsIn<'task.prompt'> & { readonly taskId: TaskId },
): Promise<{ turnId: TurnId; events: StoredEvent[] }> {
  const client = await daemon.client();
  const { turnId } = await client.call('task.prompt', params);
  return { turnId, events: await daemon.eventsUntilEnded(params.taskId, turnId) };
}

/** Processes of one turn, by the variable that they inherit. */
async function processesOf(turnId: TurnId): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(`HARNESSD_TURN=${turnId}`)) found.push(pid);
  }
  return found;
}

/** Starts a turn and resolves when its tool runs: a shell that has started what outlives a signal to its parent. */
async function inTheTool(daemon: TestDaemon): Promise<{ turnId: TurnId; taskId: Run['taskId']; pid: number }> {
  const client = await daemon.client();
  const workspace = await daemonFolder(daemon);
  const started = join(workspace, 'started');
  const prompt = `{{say: I begin.}} {{run: setsid sleep 600 & touch ${started}; sleep 601}}`;
  const { taskId, turnId } = await client.call('task.create', { prompt, workspace });
  const events = await daemon.eventsUntil(taskId, ({ type }) => type === 'tool.called');
  await vi.waitFor(() => expect(existsSync(started)).toBe(true), { timeout: 10_000, interval: 20 });
  expect((await processesOf(turnId)).length).toBeGreaterThanOrEqual(3);
  return { taskId, turnId, pid: Number(events.find(({ type }) => type === 'turn.running')!.data['pid']) };
}

let folders = 0;
async function daemonFolder(daemon: TestDaemon): Promise<string> {
  const path = join(daemon.dir, `workspace-${(folders += 1)}`);
  await mkdir(path);
  return path;
}

describe('Claude Code', { timeout: 60_000 }, () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startDaemon()));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P3.1] changes a file in the workspace, the model was asked, the events tell the story, and a follow-up goes on with it', async () => {
    const workspace = await daemonFolder(daemon);
    await writeFile(join(workspace, 'notes.txt'), 'before\n');
    const prompt = '{{say: I change it.}} {{run: cat notes.txt; echo after > notes.txt}} {{say: Changed.}}';
    const { events, ended, taskId } = await daemon.run({ prompt, workspace });
    expect(await readFile(join(workspace, 'notes.txt'), 'utf8')).toBe('after\n');
    expect(ended.data).toMatchObject({
      outcome: 'succeeded',
      reason: 'completed',
      evidence: { exitCode: 0, signal: null, saidResult: true },
    });
    expect(events.map(({ type }) => type)).toEqual([
      'task.created',
      'turn.queued',
      'turn.started',
      'turn.running',
      'executor.session',
      'message.delta',
      'message.added',
      'tool.called',
      'tool.finished',
      'message.delta',
      'message.added',
      'usage.reported',
      'turn.ended',
    ]);
    expect(texts(events)).toEqual(['I change it.', 'Changed.']);
    expect(events.find(({ type }) => type === 'tool.finished')!.data).toMatchObject({
      outcome: 'ok',
      output: 'before',
    });
    expect(events.find(({ type }) => type === 'turn.started')!.data).toMatchObject({
      executor: 'claude',
      provider: 'offline',
      version: '2.1.330',
    });
    const session = sessionOf(events);
    const first = await requestsOf(daemon, session);
    expect(first.map(({ model, auth }) => [model, auth])).toEqual([
      ['claude-sonnet-4-6', 'bearer'],
      ['claude-sonnet-4-6', 'bearer'],
    ]);
    expect(new Set(first.map(({ digest }) => digest)).size).toBe(2);

    const next = await prompted(daemon, { taskId, prompt: '{{say: And on.}}' });
    expect(next.events.at(-1)!.data['outcome']).toBe('succeeded');
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(session);
    expect(sessionOf(next.events)).toBe(session);
    const [again, ...more] = (await requestsOf(daemon, session)).slice(2);
    expect(more).toEqual([]);
    expect(again!.messages).toBeGreaterThan(first[1]!.messages!);
    const used = next.events
      .filter(({ type }) => type === 'usage.reported')
      .map(({ data }) => Number(data['inputTokens']));
    expect(used).toHaveLength(2);
    expect(used[1]).toBeLessThan(used[0]!); // one request after two: what the CLI counts over the conversation is not told again
  });

  test('goes on with a conversation whose first turn failed', async () => {
    const { taskId, events, ended } = await daemon.run({ prompt: `${'Remember me. '.repeat(200)} {{status: 401}}` });
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'auth' });
    const next = await prompted(daemon, { taskId, prompt: '{{say: And on.}}' });
    expect(next.events.at(-1)!.data['outcome']).toBe('succeeded');
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(sessionOf(events));
    const requests = await requestsOf(daemon, sessionOf(events));
    expect(requests).toHaveLength(5);
    expect(requests[4]!.bytes).toBeGreaterThan(requests[0]!.bytes); // with nothing between them both prompts are in one message
  });

  test('[P3.3] goes on with a conversation whose first turn was cancelled', async () => {
    const { taskId, turnId } = await inTheTool(daemon);
    const client = await daemon.client();
    await client.call('task.cancel', { taskId });
    const cancelled = await daemon.eventsUntilEnded(taskId, turnId);
    expect(cancelled.at(-1)!.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
    const next = await prompted(daemon, { taskId, prompt: '{{say: And on.}}' });
    expect(next.events.at(-1)!.data['outcome']).toBe('succeeded');
    expect(texts(next.events)).toEqual(['I begin.', 'And on.']);
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(sessionOf(cancelled));
    const [first, second] = await requestsOf(daemon, sessionOf(cancelled));
    expect(second!.messages).toBeGreaterThan(first!.messages!);
  });

  test('takes a prompt of 100,000 characters of four bytes whole, and one that begins with a dash', async () => {
    const directive = '{{say: ok}}';
    const prompt = directive + '\u{1f642}'.repeat(100_000 - directive.length);
    const [long, dash] = await Promise.all([
      daemon.run({ prompt }),
      daemon.run({ prompt: '--version\n-p {{say: dash}}' }),
    ]);
    expect(texts(long.events)).toEqual(['ok']);
    expect(texts(dash.events)).toEqual(['dash']);
    const stored = await Array.fromAsync(
      glob(join(daemon.stateDir, 'tasks', long.taskId, 'claude', 'projects', '*', '*.jsonl')),
    );
    const lines = (await readFile(stored[0]!, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; message?: { content: unknown } });
    expect(lines.some(({ type, message }) => type === 'user' && message?.content === prompt)).toBe(true);
  });
});

interface Row {
  readonly name: string;
  readonly prompt: string;
  readonly model?: string;
  readonly reason: string;
  readonly evidence: object;
  /** Undefined: it depends on where the stream broke. */
  readonly retries?: number;
}
const status = (code: number, reason: string, retries: number, more = ''): Row => ({
  name: `${code}${more}`,
  prompt: `{{status: ${code}${more}}}`,
  reason,
  evidence: { httpStatus: code },
  retries,
});

describe('a provider that fails', { timeout: 60_000 }, () => {
  const rows: readonly Row[] = [
    status(429, 'rate_limited', 2, ', retry-after 20'), // the slowest first
    status(401, 'auth', 3),
    status(403, 'auth', 0),
    status(400, 'invalid_request', 0),
    status(429, 'rate_limited', 3),
    status(500, 'provider_error', 3),
    status(529, 'provider_error', 3),
    {
      name: 'an unknown model',
      prompt: 'hello',
      model: 'no-such-model',
      reason: 'model_not_found',
      evidence: { httpStatus: 404 },
      retries: 0,
    },
    { name: 'a dropped connection', prompt: '{{drop}}', reason: 'provider_unreachable', evidence: {}, retries: 3 },
    { name: 'a stream cut', prompt: '{{say: Half of it.}} {{cut}}', reason: 'stream_cut', evidence: {}, retries: 0 },
    { name: 'a stream cut in its middle', prompt: '{{cut}}', reason: 'stream_cut', evidence: {} },
    {
      name: 'a stream that ends early',
      prompt: '{{say: Half of it.}} {{early-end}}',
      reason: 'stream_cut',
      evidence: {},
      retries: 0,
    },
    {
      name: 'a stream that ends early in its middle',
      prompt: '{{early-end}}',
      reason: 'stream_cut',
      evidence: {},
    },
  ];
  let daemon: TestDaemon;
  let runs: Map<string, Promise<Run>>;
  beforeAll(async () => {
    daemon = await startDaemon({ flags: { 'turn-concurrency': 7 } });
    runs = new Map(rows.map(({ name, prompt, model }) => [name, daemon.run({ prompt, ...(model && { model }) })]));
    for (const run of runs.values()) run.catch(() => undefined); // its test tells
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test.for(rows.toReversed())(
    '[P3.2] with $name ends the turn in time, as $reason, with evidence',
    async ({ name, reason, evidence, retries }) => {
      const { events, ended, turnId } = (await runs.get(name))!;
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason,
        evidence: { saidResult: true, message: expect.stringMatching(/./) as unknown, ...evidence },
      });
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
      const told = events.filter(({ type }) => type === 'retry.announced');
      if (retries !== undefined) expect(told.length).toBe(retries);
      const stopping = events.find(({ type }) => type === 'turn.stopping')?.data;
      expect(stopping).toEqual(name.includes('retry-after') ? { cause: 'retry_limit' } : undefined);
      expect(events.filter(({ type }) => type === 'executor.unparsed')).toEqual([]);
      expect(await processesOf(turnId)).toEqual([]);
    },
  );

  test('[P3.2] once only is overcome', async () => {
    const overcome = await Promise.all(
      ['{{status: 529, once}}', '{{drop: once}}', '{{say: Half.}} {{cut: once}}'].map((fault) =>
        daemon.run({ prompt: `${fault} {{run: true}} {{say: Recovered.}}` }),
      ),
    );
    for (const { events, ended } of overcome) {
      expect(ended.data['outcome']).toBe('succeeded');
      expect(texts(events).at(-1)).toBe('Recovered.');
    }
  });
});

describe('a provider that says nothing', { timeout: 60_000 }, () => {
  test('[P3.2] [P3.4] at all, or no more, is left after the idle time', async () => {
    await using daemon = await startDaemon({ flags: { 'turn-idle-ms': 2000 } });
    const [hang, stall] = await Promise.all([
      daemon.run({ prompt: '{{hang}}' }),
      daemon.run({ prompt: '{{say: words}} {{stall}}' }),
    ]);
    for (const { events, ended } of [hang, stall]) {
      expect(ended.data).toMatchObject({
        outcome: 'timed_out',
        reason: 'idle',
        evidence: { exitCode: 0, signal: null },
      });
      expect(events.at(-1)!.at - sessionTime(events)).toBeLessThan(10_000);
    }
    expect(texts(stall.events)).toEqual(['words']);
  });

  test('[P3.2] [P6.4] as nobody listens there is unreachable', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await using daemon = await prepareDaemon();
    const file = join(daemon.dir, 'credentials.json');
    const key = 'sk-ant-api03-nobody-hears-of-it';
    await writeFile(
      file,
      JSON.stringify({ claude: { ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}` } }),
      { mode: 0o600 },
    );
    await daemon.start({ flags: { 'credentials-file': file } });
    const { events, ended, turnId } = await daemon.run({ prompt: 'hello' });
    expect(ended.data).toMatchObject({
      outcome: 'failed',
      reason: 'provider_unreachable',
      evidence: { exitCode: 1, message: expect.stringContaining('ECONNREFUSED') as unknown },
    });
    expect(events.filter(({ type }) => type === 'retry.announced')).toHaveLength(3);
    expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
  });
});

test(
  '[P6.2] a key that Claude Code is made to print is masked in events; afterwards only its own conversation store holds it',
  { timeout: 60_000 },
  async () => {
    await using other = await startDaemon();
    await other.run({ prompt: '{{say: The model is up.}}' });
    const presence = await readFile(join(other.stateDir, 'offline-model', 'offline-model.json'), 'utf8');
    const { url } = JSON.parse(presence) as { url: string };
    const key = 'sk-ant-api03-printed-0123456789abcdef';
    await using daemon = await startDaemon({ env: { ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: url } });
    const run = await daemon.run({ prompt: '{{run: echo key $ANTHROPIC_API_KEY}} {{say: Done.}}' });
    const { events, ended, taskId } = run;
    expect(ended.data['outcome']).toBe('succeeded');
    const finished = events.find(({ type }) => type === 'tool.finished')!;
    expect(finished.data['output']).toBe(`key ${'*'.repeat(key.length)}`);
    const session = String(sessionOf(events));
    expect((await requestsOf(other, session)).map(({ auth }) => auth)).toEqual(['x-api-key', 'x-api-key']);
    const holders: string[] = [];
    for await (const path of glob('**', { cwd: daemon.stateDir })) {
      const bytes = await readFile(join(daemon.stateDir, path)).catch(() => Buffer.alloc(0));
      if (bytes.includes(key)) holders.push(path);
    }
    expect(holders).toHaveLength(1);
    expect(holders[0]).toMatch(new RegExp(`^tasks/${taskId}/claude/projects/[^/]+/${session}.jsonl$`));
    expect(daemon.log).not.toContain(key);
  },
);

const sessionTime = (events: readonly StoredEvent[]): number =>
  events.find(({ type }) => type === 'executor.session')!.at;

describe.for(['cgroup', 'weak'] as const)(
  'in the midst of a tool, contained by %s,',
  { timeout: 60_000 },
  (containment) => {
    let daemon: TestDaemon | undefined;
    let missing = '';
    beforeAll(async () => {
      const started = await prepareDaemon({ flags: { containment } });
      const failed = await started.start();
      if (failed) missing = 'needs a writable cgroup v2 with cgroup.kill';
      else daemon = started;
    });
    afterAll(() => daemon?.[Symbol.asyncDispose]());

    test('[P3.3] a cancel ends all that the turn started, within the grace time', async ({ skip }) => {
      if (!daemon) return skip(missing);
      const { taskId, turnId } = await inTheTool(daemon);
      const client = await daemon.client();
      const asked = Date.now();
      await client.call('task.cancel', { taskId });
      const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
      expect(await processesOf(turnId)).toEqual([]);
      expect(ended.at - asked).toBeLessThan(2000 + 2000); // the grace time of these tests, and some for a slow machine
      expect(ended.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
    });

    test.for([
      ['SIGINT', { exitCode: 0, signal: null, saidResult: true }],
      ['SIGTERM', { exitCode: 143, signal: null, saidResult: false }],
      ['SIGKILL', { exitCode: null, signal: 'SIGKILL', saidResult: false }],
    ] as const)(
      '[P3.3] [P3.5] %s from outside fails the turn as killed, and nothing is left',
      async ([signal, evidence], { skip }) => {
        if (!daemon) return skip(missing);
        const { taskId, turnId, pid } = await inTheTool(daemon);
        process.kill(pid, signal);
        const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
        expect(await processesOf(turnId)).toEqual([]);
        expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'executor_killed', evidence });
        if (signal === 'SIGKILL')
          expect(ended.data).toHaveProperty(
            'evidence.swept',
            expect.toSatisfy((swept: number) => swept >= 2),
          );
      },
    );
  },
);
