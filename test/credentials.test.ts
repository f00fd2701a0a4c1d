import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { ParamsIn } from '../src/protocol/methods.ts';
import { programs, startDaemon, type DaemonOptions, type TestDaemon } from './support/daemon.ts';

/* What may go wrong with credentials and with what turns leave: told of daemons that are killed, agents that are odd, peers that are late. */

const binaries = `claude=${join(programs, 'fake-claude.mjs')}`;
const start = ({ flags = {}, env = {} }: DaemonOptions = {}): Promise<TestDaemon> =>
  startDaemon({ flags: { 'executors-binaries': binaries, 'offline-model': 'off', ...flags }, env });
const claude = (policy: object): ParamsIn<'policy.set'> => ({ executors: { claude: policy } });
const login = (token: string): string => JSON.stringify({ claudeAiOauth: { accessToken: token } });
const ann = { executor: 'claude', mode: 'oauth', member: 'ann' } as const;
const key = { executor: 'claude', mode: 'api_key', value: 'the organisation key' } as const;
const texts = (events: readonly StoredEvent[]): unknown[] =>
  events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text']);

async function holding(folder: string, ...values: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name)).catch(() => Buffer.alloc(0));
    if (values.some((value) => bytes.includes(value))) found.push(join(entry.parentPath, entry.name));
  }
  return found;
}

describe('a credential file', () => {
  test('[P12.5] that was taken back, or replaced, while a turn refreshed it is not brought back by that, nor by a restart', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    await client.call('policy.set', claude({ authMethod: 'oauth' }));
    const refreshed = async (
      after: (client: Awaited<ReturnType<TestDaemon['client']>>) => Promise<unknown>,
    ): Promise<void> => {
      await client.call('credential.set', { ...ann, value: login('the first token'), isFile: true });
      const [ready, gate] = [
        join(daemon.dir, `ready-${crypto.randomUUID()}`),
        join(daemon.dir, `gate-${crypto.randomUUID()}`),
      ];
      const prompt = `touch ${ready}\nawait ${gate}\nrefresh ${btoa(login('the second token'))}\nresult`;
      const { taskId, turnId } = await client.call('task.create', { prompt, member: 'ann' });
      await daemon.eventsUntil(taskId, ({ type }) => type === 'turn.running');
      await after(client);
      await writeFile(gate, '');
      const events = await daemon.eventsUntilEnded(taskId, turnId);
      expect(events.some(({ type }) => type === 'credential.refreshed')).toBe(true);
    };
    await refreshed((peer) => peer.call('credential.clear', ann));
    expect((await client.call('credential.list', {})).credentials).toEqual([]);
    await expect(client.call('task.create', { prompt: 'result', member: 'ann' })).rejects.toMatchObject({
      code: 'credentials_required',
    });

    await refreshed((peer) => peer.call('credential.set', { ...ann, value: 'a newer access token' }));
    const { events } = await daemon.run({
      prompt: 'digest CLAUDE_CODE_OAUTH_TOKEN\nenv CLAUDE_CODE_OAUTH_TOKEN\nresult',
      member: 'ann',
    });
    expect(texts(events)[1]).toMatch(/^\*+$/);
    await client.call('credential.set', { ...ann, value: login('the newest token'), isFile: true });
    expect((await client.call('credential.refreshed', {})).refreshed).toHaveLength(1); // the last one only
    await daemon.kill();
    await daemon.start();
    const after = await daemon.client();
    expect((await after.call('credential.list', {})).credentials).toEqual([{ ...ann, state: 'awaited' }]);
  });

  test('[P12.5] [P6.2] goes with its turn, whatever the executor puts in the place of it, and the next turn gets its own', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    await client.call('policy.set', claude({ authMethod: 'oauth' }));
    await client.call('credential.set', { ...ann, value: login('the first token'), isFile: true });
    const spoil = 'folder harnessd-mcp.json\nresult';
    const { taskId, ended } = await daemon.run({ prompt: spoil, member: 'ann' });
    expect(ended.data['outcome']).toBe('succeeded');
    const next = await daemon.run({ prompt: 'login\nresult', member: 'ann' });
    expect(next.ended.data['outcome']).toBe('succeeded');
    for (const folder of ['turns', 'tmp']) await expect.poll(() => readdir(join(daemon.stateDir, folder))).toEqual([]);
    expect(await readdir(join(daemon.stateDir, 'tasks', taskId, 'claude'))).toEqual([]);
    expect(await holding(daemon.stateDir, 'the first token')).toEqual([]);
  });

  test('[P12.5] planned by a daemon that was killed before the launch is not left, however the turn is paid in the end', async () => {
    await using daemon = await start({ flags: { 'faults-crash-at': 'launch.planned' } });
    const client = await daemon.client();
    await client.call('policy.set', claude({ authMethod: 'oauth' }));
    await client.call('credential.set', { ...ann, value: login('the first token'), isFile: true });
    const { taskId, turnId } = await client.call('task.create', { prompt: 'result', member: 'ann' });
    await daemon.crashed;
    expect(await holding(daemon.stateDir, 'the first token')).not.toEqual([]);
    await daemon.start({ flags: { 'faults-crash-at': 'never' } });
    await (await daemon.client()).call('credential.set', { ...ann, value: 'an access token' });
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    expect(events.at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
    expect(await holding(daemon.stateDir, 'the first token')).toEqual([]);
  });

  test('[P10.1] however deep it nests harms nobody', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    const deep = `${'['.repeat(30_000)}${']'.repeat(30_000)}`;
    await client.call('credential.set', { ...ann, value: deep, isFile: true });
    await client.call('credential.set', key);
    expect((await daemon.run({ prompt: 'result' })).ended.data['outcome']).toBe('succeeded');
  });
});

describe('a credential', () => {
  test('[P12.1] that was taken back is not the same as one that was never there: nobody else pays', async () => {
    await using daemon = await start({
      env: { ANTHROPIC_AUTH_TOKEN: 'credits of the computer', ANTHROPIC_BASE_URL: 'http://127.0.0.1:9' },
    });
    const client = await daemon.client();
    await client.call('policy.set', claude({ authMethod: 'api_key' }));
    await client.call('credential.set', key);
    await client.call('credential.clear', { executor: 'claude', mode: 'api_key' });
    await expect(client.call('task.create', { prompt: 'result' })).rejects.toMatchObject({
      code: 'credentials_required',
    });
  });

  test('[P12.1] there once, the scripted model never stands in for it', async () => {
    await using daemon = await start({
      flags: { 'offline-model': 'auto' },
      env: { CLAUDE_CODE_OAUTH_TOKEN: 'of the computer’s owner' },
    });
    const client = await daemon.client();
    const create = (member?: string) => client.call('task.create', { prompt: 'result', ...(member && { member }) });
    await expect(create('ann')).rejects.toMatchObject({ code: 'credentials_required' });
    await client.call('credential.set', { executor: 'codex', mode: 'api_key', value: 'a key for codex' });
    await client.call('credential.clear', { executor: 'codex', mode: 'api_key' });
    await expect(client.call('task.create', { prompt: 'x', executor: 'codex' })).rejects.toMatchObject({
      code: 'credentials_required',
    });
  });

  test('[P6.2] of another executor or member is masked as well, without its line’s end, and so is the password of a proxy', async () => {
    await using daemon = await start({ env: { HTTPS_PROXY: 'http://agent:proxy-passw0rd@127.0.0.1:9' } });
    const client = await daemon.client();
    await client.call('credential.set', { executor: 'codex', mode: 'api_key', value: 'sk-codex-organisation-key\n' });
    await client.call('credential.set', key);
    const { events } = await daemon.run({ prompt: 'say here is sk-codex-organisation-key\nenv HTTPS_PROXY\nresult' });
    expect(texts(events)).toEqual([`here is ${'*'.repeat(25)}`, `http://agent:${'*'.repeat(14)}@127.0.0.1:9`]);
  });

  test('[P6.6] in a turn’s directory is its own, and no other’s; its TMPDIR does not lead there', async () => {
    await using daemon = await start({
      env: { OPENAI_API_KEY: 'sk-of-codex-0123456789', GEMINI_API_KEY: 'of-gemini-0123456789' },
    });
    const client = await daemon.client();
    await client.call('credential.set', key);
    const gate = join(daemon.dir, 'gate');
    const { taskId, turnId } = await client.call('task.create', { prompt: `env TMPDIR\nawait ${gate}\nresult` });
    const events = await daemon.eventsUntil(taskId, ({ type }) => type === 'message.added');
    const { token } = await daemon.address();
    expect(
      await holding(join(daemon.stateDir, 'turns'), token, 'sk-of-codex-0123456789', 'of-gemini-0123456789'),
    ).toEqual([]);
    expect(await holding(join(daemon.stateDir, 'turns'), key.value)).not.toEqual([]);
    expect(texts(events)).toEqual([join(daemon.stateDir, 'tmp', turnId)]);
    await writeFile(gate, '');
    await daemon.eventsUntilEnded(taskId, turnId);
  });

  test('[P12.1] [P12.3] cannot be brought in, nor led elsewhere, by a turn’s environment', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    await client.call('credential.set', key);
    for (const name of [
      'ANTHROPIC_CUSTOM_HEADERS',
      'CLAUDE_CODE_USE_BEDROCK',
      'AWS_BEARER_TOKEN_BEDROCK',
      'ANTHROPIC_MODEL',
      '__proto__',
    ])
      await expect(
        client.call('task.create', { prompt: 'result', env: JSON.parse(`{"${name}":"x"}`) as Record<string, string> }),
        name,
      ).rejects.toMatchObject({ code: 'invalid_params' });
    const { events } = await daemon.run({
      prompt: 'env OPENAI_API_KEY\nresult',
      env: { OPENAI_API_KEY: 'for the tests' },
    });
    expect(texts(events)).toEqual(['for the tests']); // it steers another executor, not this one
  });
});

describe('what lies in the way', () => {
  test('[P11.1] what is not harnessd’s in its directories keeps no daemon from starting', async () => {
    await using daemon = await start();
    await daemon.kill();
    await writeFile(join(daemon.stateDir, 'turns', '.DS_Store'), '');
    await mkdir(join(daemon.stateDir, 'refreshed'));
    await writeFile(join(daemon.stateDir, 'refreshed', 'half.json'), '{"refr');
    expect(await daemon.start()).toBeUndefined();
  });

  test('[P10.1] a port in use ends the start with a line that says so, also when a turn waits to go on', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    await using daemon = await start({
      flags: { 'faults-crash-at': 'launch.planned' },
      env: { ANTHROPIC_API_KEY: 'a key in the environment' },
    });
    const client = await daemon.client();
    const { taskId, turnId } = await client.call('task.create', { prompt: 'result' });
    await daemon.crashed;
    expect(await daemon.start({ flags: { 'faults-crash-at': 'never', 'listen-port': port } })).toEqual({ exitCode: 1 });
    expect(daemon.log).toContain(`127.0.0.1:${port} is in use by another program`);
    other.close();
    await daemon.start({ flags: { 'listen-port': 0 } });
    expect((await daemon.eventsUntilEnded(taskId, turnId)).at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
  });

  test('a task’s own workspace is not deleted while another task works in it', async () => {
    await using daemon = await start({ env: { ANTHROPIC_API_KEY: 'a key in the environment' } });
    const client = await daemon.client();
    const host = await daemon.run({ prompt: 'result' });
    const { workspace } = await client.call('task.get', { taskId: host.taskId });
    const guest = await daemon.run({ prompt: 'result', workspace });
    await expect(client.call('task.delete', { taskId: host.taskId })).rejects.toMatchObject({ code: 'task_active' });
    expect(await readdir(workspace)).toEqual([]);
    await client.call('task.delete', { taskId: guest.taskId });
    await client.call('task.delete', { taskId: host.taskId });
    await expect(readdir(workspace)).rejects.toThrow('ENOENT');
  });

  test('a workspace has one name, however the state directory is reached: its turns run one after another', async () => {
    await using daemon = await start({ env: { ANTHROPIC_API_KEY: 'a key in the environment' } });
    await daemon.kill();
    const link = join(daemon.dir, 'link');
    await symlink(daemon.stateDir, link);
    await daemon.start({ flags: { 'state-dir': link } });
    const client = await daemon.client();
    const gate = join(daemon.dir, 'gate');
    const first = await client.call('task.create', { prompt: `await ${gate}\nresult` });
    const { workspace } = await client.call('task.get', { taskId: first.taskId });
    await daemon.eventsUntil(first.taskId, ({ type }) => type === 'turn.running');
    const second = await client.call('task.create', { prompt: 'result', workspace });
    const waiting = await daemon.eventsUntil(second.taskId, ({ type }) => type === 'turn.waiting');
    expect(waiting.at(-1)!.data).toEqual({ reason: 'workspace_busy' });
    await writeFile(gate, '');
    await daemon.eventsUntilEnded(second.taskId, second.turnId);
  });
});

test(
  '[P12.4] why a turn waits is told once, and its place in the line is that of all that wait for room',
  { timeout: 60_000 },
  async () => {
    await using daemon = await start({
      flags: { 'turn-concurrency': 1 },
      env: { ANTHROPIC_API_KEY: 'a key in the environment' },
    });
    const client = await daemon.client();
    const gate = join(daemon.dir, 'gate');
    const create = (id: string) => client.call('task.create', { id, prompt: `await ${gate}\nresult` });
    const running = await create('t0');
    const queued = await Promise.all(['t1', 't2', 't3'].map(create));
    await daemon.eventsUntil(running.taskId, ({ type }) => type === 'turn.running');
    const places = async (): Promise<unknown[]> => {
      const { tasks } = await (await daemon.client()).call('task.list', {});
      return tasks
        .flatMap(({ turns }) => turns.flatMap(({ waiting }) => waiting?.position ?? []))
        .toSorted((one, other) => one - other);
    };
    expect(await places()).toEqual([1, 2, 3]);
    for (let restart = 0; restart < 2; restart += 1) {
      await daemon.kill();
      await daemon.start();
    }
    expect(await places()).toEqual([1, 2, 3]);
    await writeFile(gate, '');
    const events = await Promise.all(queued.map(({ taskId, turnId }) => daemon.eventsUntilEnded(taskId, turnId)));
    for (const each of events) expect(each.filter(({ type }) => type === 'turn.waiting')).toHaveLength(1);
  },
);
