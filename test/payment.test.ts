import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Client } from '../src/client/client.ts';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { TaskId } from '../src/protocol/ids.ts';
import type { ParamsIn } from '../src/protocol/methods.ts';
import { programs, startDaemon, type DaemonOptions, type TestDaemon } from './support/daemon.ts';

const claude = (policy: object): ParamsIn<'policy.set'> => ({ executors: { claude: policy } });
const proxy = { baseUrl: 'http://127.0.0.1:9' };
const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
const none = hash('undefined');
const vendor = hash('https://api.anthropic.com');
const texts = (events: readonly StoredEvent[]): unknown[] =>
  events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text']);
const find = (events: readonly StoredEvent[], type: StoredEvent['type']): StoredEvent['data'] | undefined =>
  events.find((event) => event.type === type)?.data;

function start({ flags = {}, env = {} }: DaemonOptions = {}): Promise<TestDaemon> {
  const binaries = `claude=${join(programs, 'fake-claude.mjs')}`;
  return startDaemon({ flags: { 'executors-binaries': binaries, 'offline-model': 'off', ...flags }, env });
}

/** What a turn is paid with: each variable by which a credential can come in. */
const tellAll = ['ANTHROPIC_AUTH_TOKEN', 'ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_BASE_URL']
  .map((name) => `digest ${name}\n`)
  .join('');

async function waiting(daemon: TestDaemon, taskId: TaskId): Promise<StoredEvent[]> {
  return daemon.eventsUntil(taskId, ({ type }) => type === 'turn.waiting');
}

async function summary(client: Client, taskId: TaskId) {
  return (await client.call('task.get', { taskId })).turns.at(-1)!;
}

describe('who pays', () => {
  test('[P12.1] what the policy says, shown by exactly one variable, at the address where it is good', async () => {
    await using daemon = await start({ flags: { 'providers-anthropic-base-url': 'http://127.0.0.1:8/v1/' } });
    const client = await daemon.client();
    const given = [
      ['credits', 'the proxy token', {}],
      ['api_key', 'the organisation key', {}],
      ['oauth', 'the token of ann', { member: 'ann' }],
    ] as const;
    for (const [mode, value, whose] of given)
      await client.call('credential.set', { executor: 'claude', mode, value, ...whose });
    const seen: unknown[] = [];
    for (const [authMethod] of given) {
      await client.call('policy.set', claude({ authMethod, proxy }));
      const { events } = await daemon.run({ prompt: `${tellAll}result`, member: 'ann' });
      seen.push([find(events, 'turn.started')!['mode'], find(events, 'turn.started')!['provider'], ...texts(events)]);
    }
    const direct = hash('http://127.0.0.1:8');
    expect(seen).toEqual([
      ['credits', 'configured', hash('the proxy token'), none, none, hash(proxy.baseUrl)],
      ['api_key', 'configured', none, hash('the organisation key'), none, direct],
      ['oauth', 'configured', none, none, hash('the token of ann'), direct],
    ]);
  });

  test('[P12.1] a missing credential is refused, save an api_key that was never there: then credits pay, and an event says so', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    const create = (more: object = {}) => client.call('task.create', { prompt: `${tellAll}result`, ...more });
    for (const authMethod of ['credits', 'api_key', 'oauth', undefined] as const) {
      await client.call('policy.set', claude({ ...(authMethod && { authMethod }), proxy }));
      await expect(create({ member: 'ann' }), String(authMethod)).rejects.toMatchObject({
        code: 'credentials_required',
      });
    }
    await client.call('credential.set', { executor: 'claude', mode: 'credits', value: 'the proxy token' });
    await client.call('policy.set', claude({ authMethod: 'oauth', proxy }));
    await expect(create({ member: 'ann' })).rejects.toMatchObject({ code: 'credentials_required' });

    await client.call('policy.set', claude({ authMethod: 'api_key', proxy }));
    const { events } = await daemon.run({ prompt: `${tellAll}result` });
    expect(find(events, 'turn.started')).toMatchObject({ mode: 'credits' });
    expect(find(events, 'warning.raised')).toEqual({
      code: 'payment_fallback',
      message: 'no api_key was ever configured for claude: this turn is paid by credits',
    });
    expect(texts(events)[0]).toBe(hash('the proxy token'));

    await client.call('policy.set', claude({ authMethod: 'credits' }));
    await expect(create()).rejects.toMatchObject({
      code: 'credentials_required',
      message: expect.stringContaining('executors.claude.proxy.baseUrl') as string, // shown to anyone else the token would be given away
    });
  });

  test('[P12.2] each member’s turns are paid by their own subscription, a follow-up by another’s by theirs', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    await client.call('policy.set', claude({ authMethod: 'oauth' }));
    for (const member of ['ann', 'bob'])
      await client.call('credential.set', {
        executor: 'claude',
        mode: 'oauth',
        member,
        value: `the token of ${member}`,
      });
    const prompt = 'digest CLAUDE_CODE_OAUTH_TOKEN\nresult';
    const { taskId, events } = await daemon.run({ prompt, member: 'ann' });
    const told: unknown[] = texts(events);
    for (const member of [undefined, 'bob', undefined]) {
      const { turnId } = await client.call('task.prompt', { taskId, prompt, ...(member && { member }) });
      told.push(texts((await daemon.eventsUntilEnded(taskId, turnId)).filter((event) => event.turnId === turnId))[0]);
    }
    const [ann, bob] = [hash('the token of ann'), hash('the token of bob')];
    expect(told).toEqual([ann, ann, bob, bob]);
    for (const more of [{ member: 'cid' }, {}])
      await expect(client.call('task.create', { prompt, ...more })).rejects.toMatchObject({
        code: 'credentials_required',
      });
    await expect(client.call('task.prompt', { taskId, prompt, member: 'cid' })).rejects.toMatchObject({
      code: 'credentials_required',
    });
  });

  test('[P12.1] [P6.2] a credential that comes with a turn is for it alone, is no way around the policy, and is masked', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    const auth = { mode: 'api_key', value: 'a key for this turn' } as const;
    const prompt = `${tellAll}env ANTHROPIC_API_KEY\nenv GREETING\nenv DEPLOY_KEY\nresult`;
    const env = { GREETING: 'hello', DEPLOY_KEY: { secret: 'a deploy key' } };
    const { events, taskId } = await daemon.run({ prompt, auth, env });
    expect(texts(events)).toEqual(
      [none, hash(auth.value), none, vendor, '*****', 'hello', '*****'].map((text) =>
        text === '*****' ? (expect.stringMatching(/^\*+$/) as string) : text,
      ),
    );
    await expect(client.call('task.prompt', { taskId, prompt })).rejects.toMatchObject({
      code: 'credentials_required',
    });
    await client.call('policy.set', claude({ authMethod: 'oauth' }));
    await expect(client.call('task.create', { prompt, auth })).rejects.toMatchObject({ code: 'auth_not_allowed' });
    for (const name of ['HOME', 'HARNESSD_TURN', 'ANTHROPIC_API_KEY', 'not a name'])
      await expect(client.call('task.create', { prompt, env: { [name]: 'x' } })).rejects.toMatchObject({
        code: 'invalid_params',
      });
  });
});

describe('the policy', () => {
  test('[P12.3] is asked again when a turn starts: what was allowed when it was made may be forbidden by then', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    const workspace = join(daemon.dir, 'w');
    const gate = join(daemon.dir, 'gate');
    await mkdir(workspace);
    await client.call('credential.set', { executor: 'claude', mode: 'api_key', value: 'the organisation key' });
    const first = await client.call('task.create', { prompt: `await ${gate}\nresult`, workspace });
    const second = await client.call('task.create', { prompt: 'result', workspace, model: 'claude-opus-4.6' });
    const third = await client.call('task.create', { prompt: 'result', workspace });
    await client.call('policy.set', claude({ disabledModels: ['claude-opus-4.6'] }));
    await waiting(daemon, third.taskId);
    expect([await summary(client, second.taskId), await summary(client, third.taskId)]).toMatchObject([
      { state: 'queued', waiting: { reason: 'workspace_busy', position: 1 } },
      { state: 'queued', waiting: { reason: 'workspace_busy', position: 2 } },
    ]);
    await writeFile(gate, '');
    const ends = await Promise.all(
      [first, second, third].map(({ taskId, turnId }) => daemon.eventsUntilEnded(taskId, turnId)),
    );
    expect(ends.map((events) => events.at(-1)!.data)).toMatchObject([
      { outcome: 'succeeded' },
      {
        outcome: 'failed',
        reason: 'model_disabled',
        evidence: { message: expect.stringContaining('claude-sonnet-4.6') as string },
      },
      { outcome: 'succeeded' },
    ]);
    await client.call('policy.set', claude({ enabled: false }));
    await expect(client.call('task.create', { prompt: 'result' })).rejects.toMatchObject({ code: 'executor_disabled' });
    expect((await client.call('executor.list', {})).executors[0]).toMatchObject({ executor: 'claude', enabled: false });
    await daemon.kill();
    await daemon.start();
    expect(await (await daemon.client()).call('policy.get', {})).toEqual({
      executors: { claude: { enabled: false, disabledModels: [] } },
      models: [],
    });
  });
});

describe('after a restart', () => {
  test('[P12.4] a queued turn waits visibly for its credential, is paid by no other, and can be cancelled', async () => {
    await using daemon = await start({
      env: { ANTHROPIC_AUTH_TOKEN: 'credits of the computer', ANTHROPIC_BASE_URL: proxy.baseUrl },
    });
    const before = await daemon.client();
    const workspace = join(daemon.dir, 'w');
    const gate = join(daemon.dir, 'gate');
    await mkdir(workspace);
    await before.call('policy.set', claude({ authMethod: 'api_key' }));
    await before.call('credential.set', { executor: 'claude', mode: 'api_key', value: 'the organisation key' });
    const running = await before.call('task.create', { prompt: `await ${gate}\nresult`, workspace });
    const queued = await before.call('task.create', { prompt: `${tellAll}result`, workspace });
    const unwanted = await before.call('task.create', { prompt: 'result', workspace });
    await daemon.eventsUntil(running.taskId, ({ type }) => type === 'turn.running');
    await daemon.kill();
    await writeFile(gate, '');
    await daemon.start();

    const client = await daemon.client();
    const isWaiting = ({ type, data }: StoredEvent): boolean =>
      type === 'turn.waiting' && data['reason'] === 'credentials_required';
    await daemon.eventsUntil(queued.taskId, isWaiting);
    expect(await summary(client, queued.taskId)).toMatchObject({
      state: 'queued',
      waiting: { reason: 'credentials_required', position: 1 },
    });
    expect((await client.call('credential.list', {})).credentials).toEqual([
      { executor: 'claude', mode: 'api_key', state: 'awaited' },
    ]);
    await client.call('task.cancel', { taskId: unwanted.taskId });
    expect((await summary(client, unwanted.taskId)).outcome).toBe('cancelled');

    await client.call('credential.set', { executor: 'claude', mode: 'api_key', value: 'the organisation key' });
    const events = await daemon.eventsUntilEnded(queued.taskId, queued.turnId);
    expect(events.at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
    expect(texts(events).slice(0, 2)).toEqual([none, hash('the organisation key')]);
  });

  test('[P12.4] a credential that is taken back fails what waits for it', async () => {
    await using daemon = await start();
    const before = await daemon.client();
    await before.call('policy.set', claude({ authMethod: 'oauth' }));
    await before.call('credential.set', {
      executor: 'claude',
      mode: 'oauth',
      member: 'ann',
      value: 'the token of ann',
    });
    await daemon.kill();
    await daemon.start();
    const client = await daemon.client();
    const { taskId, turnId } = await client.call('task.create', { prompt: 'result', member: 'ann' });
    await waiting(daemon, taskId);
    await client.call('credential.clear', { executor: 'claude', mode: 'oauth', member: 'ann' });
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    expect(events.at(-1)!.data).toMatchObject({ outcome: 'failed', reason: 'credentials_required' });
  });
});

describe('a credential file', () => {
  const login = (token: string): string => JSON.stringify({ claudeAiOauth: { accessToken: token, expiresAt: 1 } });
  const ann = { executor: 'claude', mode: 'oauth', member: 'ann' } as const;

  test('[P12.5] is used by one turn at a time; what the executor made of it waits, private, until it is taken', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    await client.call('policy.set', claude({ authMethod: 'oauth' }));
    await client.call('credential.set', { ...ann, value: login('the first token'), isFile: true });
    const [gate, ready] = [join(daemon.dir, 'gate'), join(daemon.dir, 'ready')];
    const refreshed = login('the second token');
    const first = await client.call('task.create', {
      prompt: `login\ntouch ${ready}\nawait ${gate}\nrefresh ${btoa(refreshed)}\nresult`,
      member: 'ann',
    });
    const second = await client.call('task.create', {
      prompt: `login\nenv CLAUDE_CODE_OAUTH_TOKEN\nresult`,
      member: 'ann',
    });
    const others = await client.call('credential.set', {
      ...ann,
      member: 'bob',
      value: login('of bob, of bob'),
      isFile: true,
    });
    expect(others).toEqual({});
    const bob = await daemon.run({ prompt: 'login\nresult', member: 'bob' }); // another's file is free
    expect(texts(bob.events)).toEqual([hash(login('of bob, of bob'))]);
    const [waited] = (await waiting(daemon, second.taskId)).slice(-1);
    expect(waited!.data).toEqual({ reason: 'credential_in_use' });
    await daemon.kill(); // the file stays with the turn that runs
    await writeFile(gate, '');
    await daemon.start();

    const [one, two] = await Promise.all(
      [first, second].map(({ taskId, turnId }) => daemon.eventsUntilEnded(taskId, turnId)),
    );
    expect(texts(one!)[0]).toBe(hash(login('the first token')));
    expect(texts(two!)).toEqual([hash(refreshed), 'undefined']); // it waited for the first, and has what the first left
    expect(find(one!, 'credential.refreshed')).toEqual({ ...ann, refreshId: first.turnId });
    expect(JSON.stringify([one, two])).not.toContain('second token');

    const peer = await daemon.client();
    const kept = join(daemon.stateDir, 'refreshed', `${first.turnId}.json`);
    expect((await stat(kept)).mode & 0o777).toBe(0o600);
    const listed = await peer.call('credential.refreshed', {});
    expect(listed.refreshed).toMatchObject([{ ...ann, refreshId: first.turnId, value: refreshed }]);
    await peer.call('credential.ack', { refreshId: first.turnId });
    expect(await peer.call('credential.refreshed', {})).toEqual({ refreshed: [] });
    await expect(peer.call('credential.ack', { refreshId: first.turnId })).rejects.toMatchObject({
      code: 'refresh_not_found',
    });
    expect(await readdir(join(daemon.stateDir, 'refreshed'))).toEqual([]);

    const left = await readdir(join(daemon.stateDir, 'tasks', first.taskId, 'claude'));
    expect(left).not.toContain('.credentials.json');
    const database = await readFile(join(daemon.stateDir, 'harnessd.db'));
    for (const token of ['the first token', 'the second token', 'of bob, of bob'])
      expect(database.includes(token)).toBe(false);
  });

  test('[P10.1] that is none, or for another way of paying, is refused', async () => {
    await using daemon = await start();
    const client = await daemon.client();
    for (const params of [
      { ...ann, value: 'not the JSON of a file', isFile: true },
      { executor: 'claude', mode: 'api_key', value: login('the first token'), isFile: true },
      { executor: 'claude', mode: 'oauth', value: 'a token of nobody' },
      { executor: 'claude', mode: 'credits', member: 'ann', value: 'the proxy token' },
    ] as const)
      await expect(client.call('credential.set', params)).rejects.toMatchObject({ code: 'invalid_params' });
    await expect(
      client.call('credential.set', { executor: 'nobody', mode: 'credits', value: 'the proxy token' }),
    ).rejects.toMatchObject({ code: 'executor_unknown' });
  });
});
