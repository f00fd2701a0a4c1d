import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TurnId } from '../src/protocol/ids.ts';
import { modelRequests, startDaemon, type TestDaemon } from './support/daemon.ts';

/* The four real CLIs on one computer, one after another and at once; only the model is scripted. */

const executors = ['claude', 'gemini', 'codex', 'opencode'] as const;

/** What the turn's shell printed, in order. */
const outputs = (events: readonly StoredEvent[]): string[] =>
  events.filter(({ type }) => type === 'tool.finished').map(({ data }) => String(data['output']).trim());

describe('one workspace and four executors', { timeout: 120_000 }, () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startDaemon()));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('[P7.1] [P7.2] each finds files, git history and installed tools as the one before left them, and is told of it', async () => {
    const workspace = join(daemon.dir, 'workspace');
    const tool = join(daemon.dir, 'greet');
    await mkdir(workspace);
    await mkdir(tool);
    await writeFile(join(tool, 'package.json'), '{"name":"greet","version":"1.0.0","bin":"greet.js"}');
    await writeFile(join(tool, 'greet.js'), '#!/usr/bin/env node\nconsole.log("hello from npm");\n');
    const setUp = [
      'git init -q -b main . && git config user.email agent@example.org && git config user.name Agent',
      `npm config set prefix ~/.npm-global && npm i -g --silent --offline ${tool} && ls ~/.npm-global/bin`,
      'mkdir -p ~/.local/bin && printf "#!/bin/sh\\necho hello from local\\n" > ~/.local/bin/hi && chmod +x ~/.local/bin/hi && hi',
    ].map((command) => `{{run: ${command}}}`);
    const client = await daemon.client();
    const first = await client.call('task.create', { prompt: `${setUp.join(' ')} {{say: Set up.}}`, workspace });
    expect(outputs(await daemon.eventsUntilEnded(first.taskId, first.turnId)).at(-1)).toBe('hello from local');

    const seen: unknown[] = [];
    for (const executor of executors) {
      const steps = [
        'echo Here: && cat story.txt 2>/dev/null; git log --format=%s 2>/dev/null; true',
        '~/.npm-global/bin/greet && hi',
        `echo "${executor} was here" >> story.txt && git add -A && git commit -qm "by ${executor}" && git status --short`,
      ].map((command) => `{{run: ${command}}}`);
      const { taskId } = first;
      const { turnId } = await client.call('task.prompt', {
        taskId,
        executor,
        prompt: `${steps.join(' ')} {{say: Done by ${executor}.}}`,
      });
      const events = (await daemon.eventsUntilEnded(taskId, turnId)).filter((event) => event.turnId === turnId);
      expect(events.at(-1)!.data, executor).toMatchObject({ outcome: 'succeeded' });
      seen.push([executor, ...outputs(events).slice(0, 2).map(words), handedOver(events)]);
    }
    const told = (by: readonly string[]): string[] => by.map((executor) => `${executor} was here`);
    const commits = (by: readonly string[]): string[] => by.map((executor) => `by ${executor}`).toReversed();
    expect(seen).toEqual(
      executors.map((executor, index) => {
        const before = executors.slice(0, index);
        return [
          executor,
          words(['Here:', ...told(before), ...commits(before)].join('\n')),
          'hello from npm hello from local',
          index > 0,
        ];
      }),
    );
    expect(await readFile(join(workspace, 'story.txt'), 'utf8')).toBe(`${told(executors).join('\n')}\n`);
    expect(await realpath(join(daemon.home, '.npm-global', 'bin', 'greet'))).toBe(join(tool, 'greet.js'));
  });
});

describe('four executors at once', { timeout: 120_000 }, () => {
  test('[P6.6] [P6.2] each shows its provider its own token, knows none of another’s, and leaves none anywhere', async () => {
    await using daemon = await startDaemon();
    await daemon.run({ prompt: '{{say: The model is up.}}' });
    const { url } = JSON.parse(
      await readFile(join(daemon.stateDir, 'offline-model', 'offline-model.json'), 'utf8'),
    ) as { url: string };
    const before = (await modelRequests(daemon)).at(-1)!.n;
    const client = await daemon.client();
    const turns = await Promise.all(
      executors.map(async (executor) => {
        const workspace = join(daemon.dir, `workspace-${executor}`);
        await mkdir(workspace);
        const [ready, go] = [join(workspace, 'ready'), join(workspace, 'go')];
        const prompt = `{{run: env > environment; touch ready; while [ ! -e go ]; do sleep 0.1; done}} {{say: Done.}}`;
        const token = `token-of-${executor}-${crypto.randomUUID()}`;
        const auth = { mode: 'credits', value: token, baseUrl: url } as const;
        const env = { OWN_SECRET: { secret: `secret-of-${executor}-${crypto.randomUUID()}` } };
        const ref = await client.call('task.create', { prompt, executor, workspace, auth, env });
        return { ...ref, executor, token, own: env.OWN_SECRET.secret, workspace, ready, go };
      }),
    );
    const secrets = turns.flatMap(({ token, own, executor }) => [
      { executor, value: token },
      { executor, value: own },
    ]);
    await vi.waitFor(
      async () =>
        expect(await Promise.all(turns.map(({ workspace }) => readdir(workspace)))).toEqual(
          turns.map(() => ['environment', 'ready']),
        ),
      { timeout: 60_000, interval: 100 },
    );

    const known = await Promise.all(
      turns.map(async ({ executor, turnId }) => [executor, await knownTo(turnId, secrets)]),
    );
    expect(Object.fromEntries(known)).toEqual({
      claude: ['claude'],
      gemini: ['gemini'],
      codex: ['codex'],
      opencode: ['opencode'],
    });
    expect(await inCommandLines(secrets)).toEqual([]);
    await Promise.all(turns.map(({ go }) => writeFile(go, '')));
    for (const { taskId, turnId, executor } of turns)
      expect((await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!.data, executor).toMatchObject({
        outcome: 'succeeded',
      });

    const shown: Record<string, Set<string>> = {};
    for (const { path = '', credentials = {}, n } of await modelRequests(daemon)) {
      const executor = executorAt(path);
      if (executor === undefined || n <= before) continue;
      shown[executor] = new Set([...(shown[executor] ?? []), ...Object.values(credentials)]);
    }
    const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);
    expect(shown).toEqual(Object.fromEntries(turns.map(({ executor, token }) => [executor, new Set([digest(token)])])));
    for (const { workspace } of turns) await writeFile(join(workspace, 'environment'), ''); // the agents wrote it there
    expect(
      await holding(
        daemon.dir,
        secrets.map(({ value }) => value),
      ),
    ).toEqual([]);
  });
});

/** Each of the four speaks a protocol of its own. */
function executorAt(path: string): string | undefined {
  if (path.startsWith('/v1beta/')) return 'gemini';
  return { '/v1/messages': 'claude', '/v1/responses': 'codex', '/v1/chat/completions': 'opencode' }[path];
}

const words = (text: string): string => text.split(/\s+/).filter(Boolean).join(' ');

function handedOver(events: readonly StoredEvent[]): boolean {
  return events.some(({ type }) => type === 'turn.handed_over');
}

type Held = readonly { readonly executor: string; readonly value: string }[];

/** Whose secrets stand in the environments of a turn's processes. */
async function knownTo(turnId: TurnId, secrets: Held): Promise<string[]> {
  const found = new Set<string>();
  for (const environment of await everyProcess('environ'))
    if (environment.includes(`HARNESSD_TURN=${turnId}`))
      for (const { executor, value } of secrets) if (environment.includes(value)) found.add(executor);
  return [...found];
}

async function inCommandLines(secrets: Held): Promise<string[]> {
  return (await everyProcess('cmdline')).filter((line) => secrets.some(({ value }) => line.includes(value)));
}

async function everyProcess(file: 'environ' | 'cmdline'): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return Promise.all(pids.map((pid) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => ''))); // gone meanwhile
}

/** Files below a folder that hold one of the values. */
async function holding(folder: string, values: readonly string[]): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const found = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const bytes = await readFile(path).catch(() => Buffer.alloc(0)); // gone meanwhile
        return values.some((value) => bytes.includes(value)) ? [path] : [];
      }),
  );
  return found.flat();
}
