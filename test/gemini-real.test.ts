import { glob, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { modelRequests, prepareDaemon, startDaemon, type TestDaemon } from './support/daemon.ts';
import { asked, run, withKey } from './support/gemini.ts';
import { by, inTheTool, newFolder, processesOf, prompted, sessionOf, startOf, texts } from './support/turns.ts';

/* The installed Gemini CLI, run by a real daemon; only the model is scripted. */

describe('Gemini CLI', { timeout: 60_000 }, () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startDaemon(by('gemini'))));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P3.1] changes a file in the workspace, the model was asked, the events tell the story, and a follow-up goes on with it', async () => {
    const workspace = await newFolder(daemon);
    await writeFile(join(workspace, 'notes.txt'), 'before\n');
    const prompt = '{{say: I change it.}} {{run: cat notes.txt; echo after > notes.txt}} {{say: Changed.}}';
    const { events, ended, taskId } = await run(daemon, { prompt, workspace });
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
      'usage.reported', // of the model that says which one to take
      'usage.reported',
      'turn.ended',
    ]);
    expect(texts(events)).toEqual(['I change it.', 'Changed.']);
    expect(events.find(({ type }) => type === 'tool.finished')!.data).toMatchObject({
      outcome: 'ok',
      output: 'before',
    });
    expect(events.find(({ type }) => type === 'turn.started')!.data).toMatchObject({
      executor: 'gemini',
      version: '0.61.0',
    });
    const first = await asked(daemon, prompt);
    expect(first.map(({ model, auth }) => [model, auth])).toEqual([
      ['gemini-3.5-flash-lite', 'both'],
      ['gemini-3.8-flash', 'both'],
      ['gemini-3.8-flash', 'both'],
    ]);

    const next = await prompted(daemon, { taskId, prompt: '{{say: And on after the change.}}' });
    expect(next.events.at(-1)!.data['outcome']).toBe('succeeded');
    expect(startOf(next.events, next.turnId).data['resumes']).toBe(sessionOf(events));
    expect(sessionOf(next.events)).toBe(sessionOf(events));
    const [, again, ...more] = await asked(daemon, '{{say: And on after the change.}}');
    expect(more).toEqual([]);
    expect(again).toMatchObject({ toolCalls: 1 }); // of the first turn
    expect(again!.messages).toBeGreaterThan(first[2]!.messages!);
    const used = next.events.filter(({ type }) => type === 'usage.reported');
    expect(used.map(({ data }) => data['model'])).toEqual([
      'gemini-3.5-flash-lite',
      'gemini-3.8-flash',
      'gemini-3.5-flash-lite',
      'gemini-3.8-flash',
    ]);
    expect(Number(used[3]!.data['inputTokens'])).toBeLessThan(Number(used[1]!.data['inputTokens'])); // one request after two
  });

  test('asks a small model whether the task is for flash or for pro', async () => {
    const tasks = ['{{route: pro}} {{say: Think hard.}}', '{{route: flash}} {{say: Be quick.}}'];
    const runs = await Promise.all(tasks.map((prompt) => run(daemon, { prompt, model: 'auto-gemini-3' })));
    expect(runs.map(({ events }) => texts(events))).toEqual([['Think hard.'], ['Be quick.']]);
    const requests = await Promise.all(tasks.map((prompt) => asked(daemon, prompt)));
    expect(requests.map((each) => each.map(({ model }) => model))).toEqual([
      ['gemini-3.5-flash-lite', 'gemini-3.1-pro-preview-customtools'],
      ['gemini-3.5-flash-lite', 'gemini-3.8-flash'],
    ]);
  });

  test('begins anew after a first turn of which nothing was kept', async () => {
    const { taskId, ended } = await run(daemon, { prompt: 'Remember me. {{status: 401}}' });
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'auth' });
    const next = await prompted(daemon, { taskId, prompt: '{{say: And on after a failure.}}' });
    expect(next.events.at(-1)!.data['outcome']).toBe('succeeded');
    expect(texts(next.events)).toEqual(['And on after a failure.']);
  });

  test('[P3.3] goes on with a conversation whose later turn was cancelled', async () => {
    const { taskId, events } = await run(daemon, { prompt: '{{run: true}} {{say: Remember me.}}' });
    const cancelled = await inTheTool(daemon, taskId);
    const client = await daemon.client();
    await client.call('task.cancel', { taskId });
    expect((await daemon.eventsUntilEnded(taskId, cancelled.turnId)).at(-1)!.data).toMatchObject({
      outcome: 'cancelled',
      reason: 'by_peer',
    });
    const next = await prompted(daemon, { taskId, prompt: '{{say: And on after a cancel.}}' });
    expect(next.events.at(-1)!.data['outcome']).toBe('succeeded');
    expect(sessionOf(next.events)).toBe(sessionOf(events));
    const requests = await asked(daemon, '{{say: And on after a cancel.}}');
    expect(requests.at(-1)!.toolCalls).toBeGreaterThanOrEqual(1);
  });

  test('takes a prompt of 100,000 characters of four bytes whole, and one that begins with a dash or a slash', async () => {
    const directive = '{{say: ok}}';
    const prompt = directive + '\u{1f642}'.repeat(100_000 - directive.length);
    const prompts = [prompt, '--version\n-p {{say: dash}}', '/quit {{say: slash}}'];
    const runs = await Promise.all(prompts.map((each) => run(daemon, { prompt: each })));
    expect(runs.map(({ events }) => texts(events))).toEqual([['ok'], ['dash'], ['slash']]);
    const stored = await Array.fromAsync(
      glob(join(daemon.stateDir, 'tasks', runs[0]!.taskId, 'gemini', '.gemini', 'tmp', '*', 'chats', '*.jsonl')),
    );
    expect(await readFile(stored[0]!, 'utf8')).toContain(JSON.stringify(prompt).slice(1, -1));
  });
});

describe('a credential', { timeout: 60_000 }, () => {
  let other: TestDaemon;
  let url: string;
  beforeAll(async () => {
    other = await startDaemon(by('gemini'));
    await run(other, { prompt: '{{say: The model is up.}}' });
    const presence = await readFile(join(other.stateDir, 'offline-model', 'offline-model.json'), 'utf8');
    ({ url } = JSON.parse(presence) as { url: string });
  });
  afterAll(() => other[Symbol.asyncDispose]());

  /** Where the credential goes, through whom, who may listen, and what the model is told. */
  const hostile = [
    'GEMINI_API_KEY',
    'GOOGLE_API_KEY',
    'GOOGLE_GEMINI_BASE_URL',
    'CODE_ASSIST_ENDPOINT',
    'HTTPS_PROXY',
    'https_proxy',
    'NODE_TLS_REJECT_UNAUTHORIZED',
    'GEMINI_CLI_CUSTOM_HEADERS',
    'GEMINI_MODEL',
    'GEMINI_SYSTEM_MD',
    'GEMINI_SANDBOX',
    'GOOGLE_CLOUD_PROJECT',
    'NODE_OPTIONS',
    'ANY_OTHER',
  ];

  test.for([
    ['GEMINI_API_KEY', 'x-goog-api-key', '.gemini/.env'],
    ['GOOGLE_CLOUD_ACCESS_TOKEN', 'bearer', '../.gemini/.env'],
  ] as const)(
    '[P6.2] [P6.7] of the variable %s reaches the provider as %s, whatever the workspace or a folder above it configures, is masked in events, and stays only where the conversation is kept',
    async ([name, auth, file]) => {
      const key = 'ya29.printed-0123456789abcdef';
      await using daemon = await withKey({ [name]: key, url });
      const workspace = await newFolder(daemon);
      await mkdir(join(workspace, '.gemini'));
      await mkdir(join(workspace, '../.gemini'));
      await writeFile(join(workspace, file), hostile.map((variable) => `${variable}=http://from-the-file\n`).join(''));
      const settings = { security: { auth: { selectedType: 'vertex-ai' } }, model: { name: 'no-such-model' } };
      await writeFile(join(workspace, '.gemini', 'settings.json'), JSON.stringify(settings));
      const prompt = `{{run: echo key $${name}; env | grep -c from-the-file; true}} {{say: Done.}}`;
      const { events, ended, taskId } = await run(daemon, { prompt, workspace });
      expect(ended.data['outcome']).toBe('succeeded');
      const finished = events.find(({ type }) => type === 'tool.finished')!;
      expect(finished.data['output']).toBe(`key ${'*'.repeat(key.length)}\n0`);
      const requests = (await modelRequests(other)).filter((each) => each.path?.match(/enerateContent$/));
      expect(requests.slice(-3).map((each) => each.auth)).toEqual([auth, auth, auth]);
      const holders: string[] = [];
      for (const path of await readdir(daemon.stateDir, { recursive: true })) {
        const bytes = await readFile(join(daemon.stateDir, path)).catch(() => Buffer.alloc(0));
        if (bytes.includes(key)) holders.push(path);
      }
      expect(holders).toHaveLength(1);
      expect(holders[0]).toMatch(
        new RegExp(`^tasks/${taskId}/gemini/\\.gemini/tmp/[^/]+/chats/session-[^/]+\\.jsonl$`),
      );
      expect(daemon.log).not.toContain(key);
    },
  );
});

describe.for(['cgroup', 'weak'] as const)(
  'in the midst of a tool, contained by %s,',
  { timeout: 60_000 },
  (containment) => {
    const turns: Awaited<ReturnType<typeof inTheTool>>[] = [];
    let daemon: TestDaemon | undefined;
    let missing = '';
    beforeAll(async () => {
      const started = await prepareDaemon(by('gemini', { containment, 'turn-concurrency': 4 }));
      const failed = await started.start();
      if (failed) {
        missing = 'needs a writable cgroup v2 with cgroup.kill';
        return;
      }
      daemon = started;
      turns.push(...(await Promise.all(Array.from({ length: 4 }, () => inTheTool(started)))));
    });
    afterAll(() => daemon?.[Symbol.asyncDispose]());

    test('[P3.3] a cancel ends all that the turn started, within the grace time', async ({ skip }) => {
      if (!daemon) return skip(missing);
      const { taskId, turnId } = turns.pop()!;
      const client = await daemon.client();
      const asked = Date.now();
      await client.call('task.cancel', { taskId });
      const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
      expect(await processesOf(turnId)).toEqual([]);
      expect(ended.at - asked).toBeLessThan(2000 + 2000); // the grace time of these tests, and some for a slow machine
      expect(ended.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
    });

    test.for([
      ['SIGINT', 'executor_exited', { exitCode: 0, signal: null, saidResult: false }],
      ['SIGTERM', 'executor_exited', { exitCode: 0, signal: null, saidResult: false }],
      ['SIGKILL', 'executor_killed', { exitCode: null, signal: 'SIGKILL', saidResult: false }],
    ] as const)(
      '[P3.3] [P3.5] %s from outside fails the turn as %s, and nothing is left',
      async ([signal, reason, evidence], { skip }) => {
        if (!daemon) return skip(missing);
        const { taskId, turnId, pid } = turns.pop()!;
        process.kill(pid, signal);
        const ended = (await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!;
        expect(await processesOf(turnId)).toEqual([]);
        expect(ended.data).toMatchObject({ outcome: 'failed', reason, evidence });
        expect(ended.data).toHaveProperty(
          'evidence.swept',
          expect.toSatisfy((swept: number) => swept >= 2), // its tools outlive every signal
        );
      },
    );
  },
);
