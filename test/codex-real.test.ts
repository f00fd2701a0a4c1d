import { glob, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TaskId, TurnId } from '../src/protocol/ids.ts';
import { by, inTheTool, newFolder, only, processesOf, requestsOf, sessionOf, startOf, texts } from './support/turns.ts';
import { prepareDaemon, startDaemon, type TestDaemon } from './support/daemon.ts';

/* The installed Codex, run by a real daemon; only the model is scripted. */

async function prompted(
  daemon: TestDaemon,
  taskId: TaskId,
  prompt: string,
): Promise<{ turnId: TurnId; events: StoredEvent[]; ended: StoredEvent }> {
  const client = await daemon.client();
  const { turnId } = await client.call('task.prompt', { taskId, prompt });
  const events = await daemon.eventsUntilEnded(taskId, turnId);
  return { turnId, events, ended: events.at(-1)! };
}

describe('Codex', { timeout: 60_000 }, () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startDaemon(by('codex'))));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P3.1] changes a file in the workspace, the model was asked, the events tell the story, and a follow-up goes on with it', async () => {
    const workspace = await newFolder(daemon);
    await writeFile(join(workspace, 'notes.txt'), 'before\n');
    const prompt =
      '{{say: I change it.}} {{usage: 1000,50,200}} {{run: cat notes.txt; echo after > notes.txt}} {{say: Changed.}} {{usage: 1,1}}';
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
      'warning.raised',
      'message.added',
      'tool.called',
      'tool.finished',
      'message.added',
      'usage.reported',
      'turn.ended',
    ]);
    expect(only(events, 'warning.raised')).toMatchObject([{ message: /^Model metadata for `gpt-5\.4` not found/ }]);
    expect(texts(events)).toEqual(['I change it.', 'Changed.']);
    expect(only(events, 'tool.finished')).toMatchObject([{ outcome: 'ok', output: 'before\n', exitCode: 0 }]);
    const started = { executor: 'codex', model: 'gpt-5.4', provider: 'offline', version: '0.169.0' };
    expect(only(events, 'turn.started')).toMatchObject([started]);
    const session = sessionOf(events);
    const first = await requestsOf(daemon, session);
    expect(first.map(({ model, auth }) => [model, auth])).toEqual([
      ['gpt-5.4', 'bearer'],
      ['gpt-5.4', 'bearer'],
    ]);

    const next = await prompted(daemon, taskId, '{{say: And on.}} {{usage: 10,1,5}}');
    expect(next.ended.data['outcome']).toBe('succeeded');
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(session);
    expect(sessionOf(next.events)).toBe(session);
    const [again, ...more] = (await requestsOf(daemon, session)).slice(2);
    expect(more).toEqual([]);
    expect(again!.messages).toBeGreaterThan(first[1]!.messages!);
    expect(only(next.events, 'usage.reported')).toEqual([
      { inputTokens: 1001, outputTokens: 51, cacheReadTokens: 200, cacheWriteTokens: 0 },
      { inputTokens: 10, outputTokens: 1, cacheReadTokens: 5, cacheWriteTokens: 0 }, // what the CLI counts over the conversation is not told again
    ]);
  });

  test('tells a patch as a change of files', async () => {
    const workspace = await newFolder(daemon);
    const patch = '*** Begin Patch\n*** Add File: p.txt\n+hello\n*** End Patch\n';
    const { events } = await daemon.run({ prompt: `{{run: apply_patch <<'EOF'\n${patch}EOF}}`, workspace });
    const path = join(workspace, 'p.txt');
    expect(await readFile(path, 'utf8')).toBe('hello\n');
    expect(only(events, 'tool.called')).toMatchObject([{ kind: 'edit', paths: [path] }]);
  });

  test('goes on with a conversation whose first turn failed', async () => {
    const { taskId, events, ended } = await daemon.run({ prompt: 'Remember me. {{status: 401}}' });
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'auth' });
    const next = await prompted(daemon, taskId, '{{say: And on.}}');
    expect(next.ended.data['outcome']).toBe('succeeded');
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(sessionOf(events));
    const requests = await requestsOf(daemon, sessionOf(events));
    expect(requests.at(-1)!.messages).toBeGreaterThan(requests[0]!.messages!);
  });

  test('[P3.3] goes on with a conversation whose first turn was cancelled', async () => {
    const { taskId, turnId } = await inTheTool(daemon);
    const client = await daemon.client();
    await client.call('task.cancel', { taskId });
    const cancelled = await daemon.eventsUntilEnded(taskId, turnId);
    expect(cancelled.at(-1)!.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
    const next = await prompted(daemon, taskId, '{{say: And on.}}');
    expect(next.ended.data['outcome']).toBe('succeeded');
    expect(texts(next.events)).toEqual(['I begin.', 'And on.']);
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(sessionOf(cancelled));
  });

  test('takes a prompt of 100,000 characters of four bytes whole, and one that begins with a dash', async () => {
    const directive = '{{say: ok}}';
    const prompt = directive + '\u{1f642}'.repeat(100_000 - directive.length);
    const [long, dash] = await Promise.all([
      daemon.run({ prompt }),
      daemon.run({ prompt: '--version\n- {{say: dash}}' }),
    ]);
    expect(texts(long.events)).toEqual(['ok']);
    expect(texts(dash.events)).toEqual(['dash']);
    const stored = join(daemon.stateDir, 'tasks', long.taskId, 'codex', 'sessions', '**', '*.jsonl');
    const [path] = await Array.fromAsync(glob(stored));
    expect(await readFile(path!, 'utf8')).toContain(prompt);
  });

  test('[P6.2] does not show the key to the commands of the agent, even where the workspace asks for it', async () => {
    const workspace = await newFolder(daemon);
    await mkdir(join(workspace, '.codex'));
    await writeFile(join(workspace, '.codex', 'config.toml'), '[shell_environment_policy]\nexclude = []\n');
    const { events, ended } = await daemon.run({ prompt: '{{run: env}}', workspace });
    expect(ended.data['outcome']).toBe('succeeded');
    const output = String(only(events, 'tool.finished')[0]!['output']);
    expect(output).toContain('HARNESSD_TURN=');
    expect(output).not.toContain('HARNESSD_MODEL_KEY');
  });
});

test(
  '[P6.2] a key that Codex is made to print is masked in events; afterwards only its own conversation store holds it',
  { timeout: 60_000 },
  async () => {
    await using other = await startDaemon(by('codex'));
    await other.run({ prompt: '{{say: The model is up.}}' });
    const presence = await readFile(join(other.stateDir, 'offline-model', 'offline-model.json'), 'utf8');
    const { url } = JSON.parse(presence) as { url: string };
    const key = 'sk-proj-printed-0123456789abcdef';
    await using daemon = await startDaemon({ ...by('codex'), env: { OPENAI_API_KEY: key, OPENAI_BASE_URL: url } });
    // Its commands do not inherit the key: this one looks into the executor itself.
    const prompt = `{{run: tr '\\0' '\\n' < /proc/$PPID/environ | grep MODEL_KEY}} {{say: Done.}}`;
    const { events, ended, taskId } = await daemon.run({ prompt });
    expect(ended.data['outcome']).toBe('succeeded');
    expect(only(events, 'tool.finished')).toMatchObject([{ output: `HARNESSD_MODEL_KEY=${'*'.repeat(key.length)}\n` }]);
    const session = String(sessionOf(events));
    expect((await requestsOf(other, session)).map(({ auth }) => auth)).toEqual(['bearer', 'bearer']);
    const holders: string[] = [];
    for await (const path of glob('**', { cwd: daemon.stateDir })) {
      const bytes = await readFile(join(daemon.stateDir, path)).catch(() => Buffer.alloc(0));
      if (bytes.includes(key)) holders.push(path);
    }
    expect(holders).not.toEqual([]);
    for (const holder of holders) expect(holder).toMatch(new RegExp(`^tasks/${taskId}/codex/`));
    expect(daemon.log).not.toContain(key);
  },
);

describe.for(['cgroup', 'weak'] as const)(
  'in the midst of a tool, contained by %s,',
  { timeout: 60_000 },
  (containment) => {
    let daemon: TestDaemon | undefined;
    let missing = '';
    beforeAll(async () => {
      const started = await prepareDaemon(by('codex', { containment }));
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
      ['SIGINT', 'executor_exited', { exitCode: 1, signal: null }],
      ['SIGTERM', 'executor_killed', { exitCode: null, signal: 'SIGTERM' }],
      ['SIGKILL', 'executor_killed', { exitCode: null, signal: 'SIGKILL' }],
    ] as const)(
      '[P3.3] [P3.5] %s from outside fails the turn as %s, and nothing is left',
      async ([signal, reason, evidence], { skip }) => {
        if (!daemon) return skip(missing);
        const { taskId, turnId, pid } = await inTheTool(daemon);
        process.kill(pid, signal);
        const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
        expect(await processesOf(turnId)).toEqual([]);
        expect(ended.data).toMatchObject({
          outcome: 'failed',
          reason,
          evidence: {
            ...evidence,
            saidResult: false,
            swept: 1,
          },
        });
      },
    );
  },
);
