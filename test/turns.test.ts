import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TurnId } from '../src/protocol/ids.ts';
import { prepareDaemon, programs, startDaemon, type DaemonOptions, type TestDaemon } from './support/daemon.ts';

const fakeClaude = join(programs, 'fake-claude.mjs');
const forever = 'sleep 600000';

const fakeOptions = ({ flags = {}, env = {} }: DaemonOptions = {}): DaemonOptions => ({
  flags: { 'executors-binaries': `claude=${fakeClaude}`, ...flags },
  env,
});
const startFake = (options: DaemonOptions = {}): Promise<TestDaemon> => startDaemon(fakeOptions(options));
const endOf = (events: readonly StoredEvent[], turnId: TurnId): StoredEvent =>
  events.find((event) => event.turnId === turnId && event.type === 'turn.ended')!;
const texts = (events: readonly StoredEvent[]): unknown[] =>
  events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text']);
const types = (events: readonly StoredEvent[]): string[] => events.map(({ type }) => type);

async function workspaceOf(daemon: TestDaemon, name: string): Promise<string> {
  const path = join(daemon.dir, name);
  await mkdir(path);
  return path;
}

/** Processes of turns: not the daemon and its companions. */
async function turnProcesses(daemon: TestDaemon): Promise<string[]> {
  return (await daemon.processes()).filter((line) => !line.includes(daemon.stateDir));
}

describe('a turn', () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startFake()));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P3.1] whose executor gives its result and exits 0 succeeded', async () => {
    const { events, ended } = await daemon.run({ prompt: 'say hello\nresult' });
    expect(ended.data).toMatchObject({
      outcome: 'succeeded',
      reason: 'completed',
      evidence: { exitCode: 0, swept: 0, saidResult: true },
    });
    expect(types(events)).toEqual([
      'task.created',
      'turn.queued',
      'turn.started',
      'turn.running',
      'message.added',
      'turn.ended',
    ]);
    expect(events.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('[P3.1] [P3.5] that exits 0 without a result, or gives its result and exits 1, failed', async () => {
    const [silent, talking, late] = await Promise.all([
      daemon.run({ prompt: 'exit 0' }),
      daemon.run({ prompt: 'say done\nexit 0' }),
      daemon.run({ prompt: 'result\nexit 1' }),
    ]);
    for (const { ended } of [silent, talking])
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason: 'executor_exited',
        evidence: { exitCode: 0, signal: null, saidResult: false },
      });
    expect(late.ended.data).toMatchObject({
      outcome: 'failed',
      reason: 'executor_exited',
      evidence: { exitCode: 1, saidResult: true },
    });
  });

  test('[P3.5] that fails says what stood last on its terminal', async () => {
    const { ended } = await daemon.run({ prompt: 'error first\nerror \u001b[31mno such option\u001b[0m\nexit 1' });
    expect(ended.data).toEqual({
      outcome: 'failed',
      reason: 'executor_exited',
      evidence: expect.objectContaining({ exitCode: 1, terminal: 'first\nno such option' }) as unknown,
    });
  });

  test('[P3.5] that prints what is none of its lines keeps it, and still succeeds by its result', async () => {
    const prompt = [
      'print "garbage"',
      'print "{\\"type\\":\\"new\\"}"',
      'print ""',
      'split "\u{1d4b3} 🙂 é"',
      'result',
    ].join('\n');
    const { events, ended } = await daemon.run({ prompt });
    expect(events.filter(({ type }) => type === 'executor.unparsed').map(({ data }) => data)).toEqual([
      { text: 'garbage' },
      { text: '{"type":"new"}' },
      { text: '\u{1d4b3} 🙂 é' },
    ]);
    expect(ended.data['outcome']).toBe('succeeded');
  });

  test('[P3.5] that ends in the middle of a line keeps the half, and did not succeed by it', async () => {
    const { events, ended } = await daemon.run({ prompt: `say a\nhalf ${JSON.stringify('{"type":"result","is_err')}` });
    expect(events.at(-2)).toMatchObject({
      type: 'executor.unparsed',
      data: { text: '{"type":"result","is_err', partial: true },
    });
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'executor_exited' });
  });

  test('[P3.5] with one line of 5 MiB tells it whole', async () => {
    const { events, ended } = await daemon.run({ prompt: `flood ${5 * 1024 * 1024}\nsay after\nresult` });
    expect(texts(events).map((text) => String(text).length)).toEqual([5 * 1024 * 1024, 5]);
    expect(ended.data['outcome']).toBe('succeeded');
  });

  test.for(['SIGKILL', 'SIGTERM', 'SIGSEGV'] as const)(
    '[P3.5] whose executor dies of %s was killed',
    async (signal) => {
      const { ended } = await daemon.run({ prompt: `say a\nkill ${signal}\n${forever}` });
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason: 'executor_killed',
        evidence: { exitCode: null, signal, saidResult: false },
      });
    },
  );

  test('[P3.3] that leaves a process in a session of its own is over only when that is gone', async () => {
    const { ended } = await daemon.run({ prompt: 'escape\nsay a\nresult' });
    expect(ended.data).toMatchObject({ outcome: 'succeeded', evidence: { swept: 1 } });
    expect(await turnProcesses(daemon)).toEqual([]);
  });

  test('[P3.3] that ignores every polite signal is cancelled within the grace time, with all that it started', async () => {
    await using client = await daemon.client();
    const prompt = `ignore SIGTERM\nignore SIGINT\nescape\nchild 600\nsay ready\n${forever}`;
    const { taskId, turnId } = await client.call('task.create', { prompt });
    await daemon.eventsUntil(taskId, ({ type }) => type === 'message.added');
    const asked = Date.now();
    expect(await client.call('task.cancel', { taskId })).toEqual({ cancelled: [turnId] });
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    expect(Date.now() - asked).toBeLessThan(2000 + 2000); // the grace time of these tests, and some for a slow machine
    expect(events.at(-1)!.data).toMatchObject({
      outcome: 'cancelled',
      reason: 'by_peer',
      evidence: { exitCode: null, signal: 'SIGKILL' },
    });
    expect(types(events).slice(-2)).toEqual(['turn.stopping', 'turn.ended']);
    expect(await turnProcesses(daemon)).toEqual([]);
    expect(await client.call('task.cancel', { taskId })).toEqual({ cancelled: [] });
  });

  test('[P3.3] cancelled while it waits for another is never launched', async () => {
    await using client = await daemon.client();
    const workspace = await workspaceOf(daemon, 'queued');
    const gate = join(daemon.dir, 'queued-gate');
    const first = await client.call('task.create', { prompt: `await ${gate}\nresult`, workspace });
    const second = await client.call('task.create', { prompt: 'result', workspace });
    expect(await client.call('task.cancel', { taskId: second.taskId })).toEqual({ cancelled: [second.turnId] });
    const events = await daemon.eventsUntilEnded(second.taskId, second.turnId);
    expect(types(events)).toEqual(['task.created', 'turn.queued', 'turn.waiting', 'turn.stopping', 'turn.ended']);
    expect(events.at(-1)!.data).toEqual({ outcome: 'cancelled', reason: 'by_peer', evidence: {} });
    await writeFile(gate, '');
    expect(endOf(await daemon.eventsUntilEnded(first.taskId, first.turnId), first.turnId).data['outcome']).toBe(
      'succeeded',
    );
    expect(types(await daemon.eventsUntilEnded(second.taskId, second.turnId))).not.toContain('turn.started');
  });

  test('[P3.3] cancelled at any moment of its launch ends once, and leaves nothing', async () => {
    await using client = await daemon.client();
    await Promise.all(
      Array.from({ length: 48 }, async (_, index) => {
        const { taskId, turnId } = await client.call('task.create', { prompt: `escape\n${forever}` });
        await sleep(index * 2); // each at another moment
        await client.call('task.cancel', { taskId });
        const events = await daemon.eventsUntilEnded(taskId, turnId);
        expect(events.at(-1)!.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
        expect((await client.call('task.get', { taskId })).latestSeq).toBe(events.length);
      }),
    );
    const { tasks } = await client.call('task.list', {});
    for (const { turns } of tasks) for (const { state } of turns) expect(state).toBe('ended');
    expect(await readdir(join(daemon.stateDir, 'turns'))).toEqual([]);
    expect(await turnProcesses(daemon)).toEqual([]);
    expect(daemon.log).not.toContain('stumbled');
  });

  test('[P3.3] is cancelled with those of its task that wait behind it', async () => {
    await using client = await daemon.client();
    const { taskId, turnId } = await client.call('task.create', { prompt: `say a\n${forever}` });
    const next = await client.call('task.prompt', { taskId, prompt: 'result' });
    await daemon.eventsUntil(taskId, ({ type }) => type === 'message.added');
    expect(new Set((await client.call('task.cancel', { taskId })).cancelled)).toEqual(new Set([turnId, next.turnId]));
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    for (const id of [turnId, next.turnId]) expect(endOf(events, id).data['outcome']).toBe('cancelled');
    expect(types(events).filter((type) => type === 'turn.started')).toHaveLength(1);
  });

  test('runs after the one before it in its workspace, and beside those of others', async () => {
    await using client = await daemon.client();
    const [one, two] = [await workspaceOf(daemon, 'one'), await workspaceOf(daemon, 'two')];
    const mark = (name: string): string => join(daemon.dir, name);
    // Each of the two would wait for ever, did they not run at once; the third would end the first too early.
    const first = await client.call('task.create', {
      prompt: `touch ${mark('a')}\nawait ${mark('b')}\nresult`,
      workspace: one,
    });
    const third = await client.call('task.prompt', { taskId: first.taskId, prompt: 'result' });
    const fourth = await client.call('task.create', { prompt: 'result', workspace: one });
    const second = await client.call('task.create', {
      prompt: `await ${mark('a')}\ntouch ${mark('b')}\nresult`,
      workspace: two,
    });
    const ended: TurnId[] = [];
    const started: TurnId[] = [];
    for await (const { type, turnId } of client.events({ signal: AbortSignal.timeout(20_000) })) {
      if (type === 'turn.ended') ended.push(turnId!);
      if (type === 'turn.started') started.push(turnId!);
      if (turnId === third.turnId && type === 'turn.started') expect(ended).toContain(first.turnId);
      if (turnId === fourth.turnId && type === 'turn.started') expect(ended).toContain(third.turnId);
      if ([first, second, third, fourth].every(({ turnId }) => ended.includes(turnId))) break;
    }
    expect(started.filter((id) => [first, third, fourth].some(({ turnId }) => id === turnId))).toEqual([
      first.turnId,
      third.turnId,
      fourth.turnId,
    ]);
  });

  test('[P6.1] inherits a list of variables, and nothing else of the daemon’s environment', async () => {
    await using other = await startFake({
      env: {
        LC_TIME: 'C',
        HTTPS_PROXY: 'http://p',
        NODE_OPTIONS: '--no-warnings',
        AWS_SECRET: 'a',
        HARNESSD_LISTEN_PORT: '0',
        ANTHROPIC_AUTH_TOKEN: 'beside the key',
        ANTHROPIC_API_KEY: 'the one that is used',
      },
    });
    const { events } = await other.run({ prompt: 'names\nenv HOME\nenv TMPDIR\nenv NO_PROXY\nenv PATH\nresult' });
    const [names, home, tmp, direct, path] = texts(events) as [string, string, string, string, string];
    const known = [
      [
        'ANTHROPIC_API_KEY',
        'ANTHROPIC_BASE_URL',
        'ANTHROPIC_DEFAULT_FABLE_MODEL',
        'ANTHROPIC_DEFAULT_HAIKU_MODEL',
        'ANTHROPIC_DEFAULT_OPUS_MODEL',
        'ANTHROPIC_DEFAULT_SONNET_MODEL',
        'ANTHROPIC_SMALL_FAST_MODEL',
        'CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC',
        'CLAUDE_CODE_MAX_RETRIES',
        'CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST',
        'CLAUDE_CODE_SUBAGENT_MODEL',
        'CLAUDE_CODE_TMPDIR',
      ],
      ['CLAUDE_CONFIG_DIR', 'COLORTERM', 'DISABLE_AUTOUPDATER', 'ENABLE_TOOL_SEARCH', 'HARNESSD_TURN', 'HOME'],
      ['HTTPS_PROXY', 'IS_SANDBOX', 'LC_TIME', 'NO_PROXY', 'PATH', 'PWD', 'TERM', 'TMPDIR', 'no_proxy'],
    ].flat();
    expect(names.split(' ')).toEqual(known);
    expect(home).toBe(other.home);
    expect(direct).toBe('127.0.0.1,localhost,::1'); // harnessd’s own doors are on this machine
    expect(path.split(':')[0]).toBe(join(other.home, '.local', 'bin'));
    expect(tmp.startsWith(join(other.stateDir, 'tmp'))).toBe(true); // not where the turn’s private files are
  });
});

describe('a turn’s limits', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    daemon = await startFake({
      flags: { 'turn-idle-ms': 1000, 'turn-capture-bytes': 1_000_000, 'turn-line-bytes': 200_000 },
    });
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P3.4] a silent executor is ended after the idle time', async () => {
    const { events, ended } = await daemon.run({ prompt: `say a\n${forever}` });
    expect(ended.data).toMatchObject({ outcome: 'timed_out', reason: 'idle' });
    expect(events.at(-2)).toMatchObject({ type: 'turn.stopping', data: { cause: 'idle' } });
    const said = events.find(({ type }) => type === 'message.added')!;
    expect(events.at(-2)!.at - said.at).toBeGreaterThanOrEqual(1000);
  });

  test('[P3.4] a tool that is silent for three times the idle time is not, nor one that only a child process tells of', async () => {
    const [tool, child, after] = await Promise.all([
      daemon.run({ prompt: `call a\nsleep 3500\nanswer a\nresult` }),
      daemon.run({ prompt: 'child 600\nsay a\nsleep 3500\nresult' }),
      daemon.run({ prompt: `call a\nsleep 1500\nanswer a\n${forever}` }),
    ]);
    expect(tool.ended.data).toMatchObject({ outcome: 'succeeded' });
    expect(child.ended.data).toMatchObject({ outcome: 'succeeded' });
    expect(after.ended.data).toMatchObject({ outcome: 'timed_out', reason: 'idle' });
  });

  test('[P3.4] the wall clock ends a turn that is anything but idle', async () => {
    const busy = Array.from({ length: 200 }, (_, index) => `say ${index}\nsleep 100`).join('\n');
    const { events, ended } = await daemon.run({ prompt: busy, timeoutMs: 1500 });
    expect(ended.data).toMatchObject({ outcome: 'timed_out', reason: 'wall_clock' });
    const started = events.find(({ type }) => type === 'turn.started')!;
    expect(started.data['deadlineAt']).toBe(started.at + 1500);
    expect(events.at(-2)!.at - started.at).toBeGreaterThanOrEqual(1500);
    expect(ended.at - started.at).toBeLessThan(1500 + 1000 + 2500); // a look at the clock each second, and the grace time
  });

  test('[P3.5] more output than allowed fails the turn; a line too long is kept in part', async () => {
    const { events, ended } = await daemon.run({
      prompt: `flood 400000\nsay a\nflood 150000\nflood 150000\nflood 150000\nflood 180000\n${forever}`,
    });
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'output_limit' });
    const cut = events.find(({ type }) => type === 'executor.unparsed')!;
    expect(cut.data['bytes']).toBeGreaterThan(400_000);
    expect(String(cut.data['text'])).toHaveLength(65_536);
    expect(texts(events)).toHaveLength(5);
  });
});

test('[P3.2] a provider that works again after it failed is given its time, though the executor says nothing of it', async () => {
  await using daemon = await startFake({ flags: { 'turn-retry-ms': 1000 } });
  const print = (line: object): string => `print ${JSON.stringify(JSON.stringify(line))}\n`;
  const retry = print({ type: 'system', subtype: 'api_retry', attempt: 1, retry_delay_ms: 100, error_status: 429 });
  const silent = print({ type: 'system', subtype: 'status' });
  const [works, fails] = await Promise.all([
    daemon.run({ prompt: `${retry}sleep 800\n${silent}sleep 800\n${silent}say again\nresult` }),
    daemon.run({ prompt: `${retry}sleep 1500\n${retry}${forever}` }),
  ]);
  expect(works.ended.data).toMatchObject({ outcome: 'succeeded' });
  expect(fails.ended.data).toMatchObject({ outcome: 'failed', reason: 'rate_limited' });
});

describe('over the death of the daemon', () => {
  test('[P3.4] the deadline and the idle time go on', async () => {
    await using daemon = await startFake({ flags: { 'turn-idle-ms': 4000 } });
    const client = await daemon.client();
    const idle = await client.call('task.create', { prompt: `say a\n${forever}` });
    const busy = Array.from({ length: 400 }, () => 'print ""\nsleep 50').join('\n');
    const slow = await client.call('task.create', { prompt: `call a\n${busy}`, timeoutMs: 4000 });
    const [said] = (await daemon.eventsUntil(idle.taskId, ({ type }) => type === 'message.added')).slice(-1);
    const [called] = (await daemon.eventsUntil(slow.taskId, ({ type }) => type === 'tool.called')).slice(-1);
    await daemon.kill();
    await sleep(2500);
    await daemon.start();
    const [ended, late] = await Promise.all(
      [idle, slow].map(async ({ taskId, turnId }) => (await daemon.eventsUntilEnded(taskId, turnId)).slice(-2)),
    );
    expect(ended![1]!.data).toMatchObject({ outcome: 'timed_out', reason: 'idle' });
    expect(late![1]!.data).toMatchObject({ outcome: 'timed_out', reason: 'wall_clock' });
    for (const time of [ended![0]!.at - said!.at, late![0]!.at - called!.at]) {
      expect(time).toBeGreaterThan(3500);
      expect(time).toBeLessThan(6000); // counted anew it would be at least 6500
    }
  });
});

describe('what has gone before the launch', () => {
  test('[P3.5] the executor: executor_unavailable', async () => {
    await using daemon = await prepareDaemon();
    const binary = join(daemon.dir, 'claude');
    await copyFile(fakeClaude, `${binary}.mjs`);
    await chmod(`${binary}.mjs`, 0o755);
    await daemon.start({ flags: { 'executors-binaries': `claude=${binary}.mjs` } });
    const client = await daemon.client();
    const gate = join(daemon.dir, 'gate');
    const { taskId } = await client.call('task.create', { prompt: `await ${gate}\nresult` });
    const { turnId } = await client.call('task.prompt', { taskId, prompt: 'result' });
    await rm(`${binary}.mjs`);
    await writeFile(gate, '');
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    expect(endOf(events, turnId).data).toEqual({
      outcome: 'failed',
      reason: 'executor_unavailable',
      evidence: { message: 'claude is not installed: harnessd executors install claude' },
    });
    await expect(client.call('task.create', { prompt: 'result' })).rejects.toMatchObject({
      code: 'executor_unavailable',
    });
  });

  test('[P3.5] the executor’s interpreter, or its right to be run: spawn fails, and says why', async () => {
    await using daemon = await prepareDaemon();
    const binary = join(daemon.dir, 'claude');
    await writeFile(binary, '#!/nowhere/node\n', { mode: 0o755 });
    await daemon.start({ flags: { 'executors-binaries': `claude=${binary}` } });
    const first = await daemon.run({ prompt: 'result' });
    expect(first.ended.data).toMatchObject({
      outcome: 'failed',
      reason: 'executor_exited',
      evidence: { exitCode: 127, terminal: expect.stringContaining('not found') as unknown },
    });
    await chmod(binary, 0o644);
    const second = await daemon.run({ prompt: 'result' });
    expect(second.ended.data).toMatchObject({ outcome: 'failed', reason: 'executor_unavailable' });
    expect(second.ended.data['evidence']).toHaveProperty('message');
  });

  test('[P3.5] the workspace: workspace_invalid', async () => {
    await using daemon = await startFake({ flags: { 'turn-concurrency': 1 } });
    const client = await daemon.client();
    const gate = join(daemon.dir, 'gate');
    const workspace = await workspaceOf(daemon, 'workspace');
    await client.call('task.create', { prompt: `await ${gate}\nresult` });
    const { taskId, turnId } = await client.call('task.create', { prompt: 'result', workspace });
    await rm(workspace, { recursive: true });
    await writeFile(workspace, 'a file');
    await writeFile(gate, '');
    expect(endOf(await daemon.eventsUntilEnded(taskId, turnId), turnId).data).toEqual({
      outcome: 'failed',
      reason: 'workspace_invalid',
      evidence: { message: `${workspace} is not a directory any more` },
    });
  });
});

describe('a credential', () => {
  const secret = 'sk-ant-api03-8fK2/dÄ"w+0123456789abcdef';
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

  /** Files below a directory, and command lines, that hold a text. */
  async function holders(directory: string, text: string): Promise<string[]> {
    const found: string[] = [];
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile() && (await readFile(path).catch(() => Buffer.alloc(0))).includes(text)) found.push(path);
    }
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const command = await readFile(`/proc/${pid}/cmdline`).catch(() => Buffer.alloc(0));
      if (command.includes(text)) found.push(`/proc/${pid}/cmdline`);
    }
    return found;
  }

  test('[P6.2] [P6.4] from the environment reaches the executor, is masked in all that it says, and is nowhere afterwards', async () => {
    await using daemon = await startFake({ env: { ANTHROPIC_API_KEY: secret }, flags: { 'log-level': 'trace' } });
    const client = await daemon.client();
    const gate = join(daemon.dir, 'gate');
    const prompt = [
      'digest ANTHROPIC_API_KEY',
      'complain ANTHROPIC_API_KEY',
      'env ANTHROPIC_API_KEY',
      `await ${gate}`,
      `say my key is ${secret}`, // the prompt is masked too
      'halfof ANTHROPIC_API_KEY',
      'exit 1',
    ].join('\n');
    const stars = '*'.repeat(secret.length);
    const { taskId, turnId } = await client.call('task.create', { prompt });
    await daemon.eventsUntil(taskId, ({ data }) => data['text'] === stars);
    const during = await holders(daemon.stateDir, secret);
    const turnDir = join(daemon.stateDir, 'turns', turnId);
    expect(during.filter((path) => !path.startsWith(turnDir))).toEqual([]); // the turn's private files hold it while it runs
    await writeFile(gate, '');
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    expect(texts(events)).toEqual([sha256(secret), stars, `my key is ${stars}`]);
    expect(events.at(-1)!.data).toMatchObject({
      outcome: 'failed',
      evidence: { terminal: expect.stringMatching(/^bad key \*+$/) as unknown },
    });
    expect(JSON.stringify(events)).not.toContain(secret.slice(0, 20));
    const { data } = await client.readTerminal({ terminalId: turnId });
    expect(Buffer.from(data).toString()).toBe(`bad key ${'*'.repeat(Buffer.byteLength(secret))}\r\n`);
    expect((await client.call('task.get', { taskId })).turns[0]!.prompt).not.toContain(secret);
    await client.call('daemon.info', {});
    for (const text of [secret, JSON.stringify(secret).slice(1, -1), Buffer.from(secret).toString('base64')]) {
      expect(await holders(daemon.stateDir, text)).toEqual([]);
      expect(daemon.log).not.toContain(text);
    }
  });

  test('[P6.4] from a private file wins over the environment', async () => {
    await using daemon = await prepareDaemon(fakeOptions({ env: { ANTHROPIC_API_KEY: 'from the environment' } }));
    const file = join(daemon.dir, 'credentials.json');
    const oauth = 'sk-ant-oat01-of-the-file';
    await writeFile(
      file,
      JSON.stringify({ claude: { CLAUDE_CODE_OAUTH_TOKEN: oauth, ANTHROPIC_BASE_URL: 'http://127.0.0.1:9' } }),
      { mode: 0o600 },
    );
    await daemon.start({ flags: { 'credentials-file': file } });
    const { events } = await daemon.run({
      prompt: 'digest CLAUDE_CODE_OAUTH_TOKEN\nenv ANTHROPIC_API_KEY\nenv ANTHROPIC_BASE_URL\nresult',
    });
    expect(texts(events)).toEqual([sha256(oauth), 'undefined', 'http://127.0.0.1:9']);
    expect(events.find(({ type }) => type === 'turn.started')!.data['provider']).toBe('configured');
  });

  test.for([
    ['that others can read', 0o640, '{}', 'chmod 600'],
    ['that is not JSON', 0o600, '{"claude": sk-ant-hidden', 'is not JSON'],
    ['of another form', 0o600, '{"claude": "sk-ant-hidden"}', 'is not of the form'],
    ['that is not there', undefined, '', 'cannot be read'],
  ] as const)('[P6.4] file %s is refused at the start, and not quoted', async ([, mode, text, why]) => {
    await using daemon = await prepareDaemon();
    const file = join(daemon.dir, 'credentials.json');
    if (mode !== undefined) await writeFile(file, text, { mode });
    const refused = await daemon.start({ flags: { 'credentials-file': file } });
    expect(refused?.exitCode).toBeGreaterThan(0);
    expect(daemon.log).toContain(`credentials.file: ${file}`);
    expect(daemon.log).toContain(why);
    expect(daemon.log).not.toContain('sk-ant-hidden');
    await writeFile(file, '{}', { mode: 0o600 });
    await chmod(file, 0o600);
  });
});
