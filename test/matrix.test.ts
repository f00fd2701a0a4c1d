import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import type { ParamsIn } from '../src/protocol/methods.ts';
import { modelRequests, startDaemon, type ModelRequest, type TestDaemon } from './support/daemon.ts';

/* The same turns for the four real CLIs, one row each; only the model is scripted. */

const tool = '{{tool: mcp:harnessd/computer_info {}}}';
const digest = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 12);

interface Row {
  readonly executor: string;
  /** What its default model makes it ask for. */
  readonly asks: readonly string[];
  readonly toolName: string;
  /** By the way of paying: the headers that the credential comes in. */
  readonly shows: Readonly<Record<string, readonly string[]>>;
}

const rows: readonly Row[] = [
  {
    executor: 'claude',
    asks: ['claude-sonnet-4-6'],
    toolName: 'mcp__harnessd__computer_info',
    shows: { credits: ['bearer'], api_key: ['x-api-key'], oauth: ['bearer'] },
  },
  {
    executor: 'codex',
    asks: ['gpt-5.4'],
    toolName: 'mcp__harnessd__computer_info',
    shows: { credits: ['bearer'], api_key: ['bearer'] },
  },
  {
    executor: 'gemini',
    asks: ['gemini-3.5-flash-lite', 'gemini-3.8-flash'], // the small one says which
    toolName: 'mcp_harnessd_computer_info',
    shows: { credits: ['bearer', 'x-goog-api-key'], api_key: ['x-goog-api-key'], oauth: ['bearer'] },
  },
  {
    executor: 'opencode',
    asks: ['gemini-3.1-pro-preview'],
    toolName: 'harnessd_computer_info',
    shows: { credits: ['bearer'] },
  },
];

describe('every executor', { timeout: 60_000 }, () => {
  let daemon: TestDaemon;
  let modelUrl: string;
  beforeAll(async () => {
    daemon = await startDaemon();
    await daemon.run({ prompt: '{{say: The model is up.}}' });
    const text = await readFile(join(daemon.stateDir, 'offline-model', 'offline-model.json'), 'utf8');
    modelUrl = (JSON.parse(text) as { url: string }).url;
    await daemon.kill();
    const vendors = ['anthropic', 'openai', 'google', 'code-assist'];
    await daemon.start({
      flags: Object.fromEntries(vendors.map((vendor) => [`providers-${vendor}-base-url`, modelUrl])),
    });
  }, 60_000);
  afterAll(() => daemon[Symbol.asyncDispose]());

  /** A turn to its end, and what its executor asked the model meanwhile. */
  async function turn(
    params: ParamsIn<'task.create'>,
  ): Promise<Awaited<ReturnType<TestDaemon['run']>> & { asked: ModelRequest[] }> {
    const before = (await modelRequests(daemon)).at(-1)!.n;
    const run = await daemon.run(params);
    const asked = (await modelRequests(daemon)).filter(
      ({ n, path, model }) => n > before && path !== undefined && model !== undefined,
    );
    return { ...run, asked };
  }

  const find = (
    events: readonly StoredEvent[],
    type: StoredEvent['type'],
    name?: string,
  ): StoredEvent['data'] | undefined =>
    events.find((event) => event.type === type && (name === undefined || event.data['name'] === name))?.data;

  test.for(rows)(
    '[P8.5] $executor lists harnessd’s tools and calls one; then it goes on with the conversation',
    async ({ executor, toolName, asks }) => {
      const first = await turn({ prompt: `{{say: I look.}} ${tool} {{say: I looked.}}`, executor });
      expect(first.ended.data).toMatchObject({ outcome: 'succeeded' });
      const called = find(first.events, 'tool.called', toolName)!;
      expect(called).toMatchObject({ name: toolName });
      expect(find(first.events, 'tool.called', 'computer_info')).toMatchObject({ via: 'mcp', input: {} });
      const finished = first.events.filter(
        ({ type, data }) => type === 'tool.finished' && data['callId'] === called['callId'],
      );
      expect(finished).toHaveLength(1);
      expect(String(finished[0]!.data['output'])).toContain('"computerId"');
      expect(new Set(first.asked.map(({ model }) => model))).toEqual(new Set(asks));

      const client = await daemon.client();
      const before = (await modelRequests(daemon)).at(-1)!.n;
      const { turnId } = await client.call('task.prompt', { taskId: first.taskId, prompt: '{{say: And on.}}' });
      const events = (await daemon.eventsUntilEnded(first.taskId, turnId)).filter((event) => event.turnId === turnId);
      expect(events.at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
      expect(find(events, 'turn.started')!['resumes']).toBe(find(first.events, 'executor.session')!['sessionId']);
      const asked = (await modelRequests(daemon)).filter(({ n, messages }) => n > before && messages !== undefined);
      const most = Math.max(...first.asked.map(({ messages }) => messages ?? 0));
      expect(Math.max(...asked.map(({ messages }) => messages!))).toBeGreaterThan(most); // it carries the first turn's history
      expect(events.filter(({ type }) => type === 'usage.reported').length).toBeGreaterThan(0);
    },
  );

  test.for(rows)('[P3.3] $executor is cancelled in the midst of a tool, and nothing is left', async ({ executor }) => {
    const client = await daemon.client();
    const prompt = '{{run: setsid sleep 600 & echo started > started; sleep 601}}';
    const { taskId, turnId } = await client.call('task.create', { prompt, executor });
    const { workspace } = await client.call('task.get', { taskId });
    await expect
      .poll(() => readFile(join(workspace, 'started'), 'utf8').catch(() => ''), { timeout: 30_000 })
      .toBe('started\n');
    await client.call('task.cancel', { taskId });
    const events = await daemon.eventsUntilEnded(taskId, turnId);
    expect(events.at(-1)!.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
    expect(events.at(-1)!.at - events.find(({ type }) => type === 'turn.stopping')!.at).toBeLessThan(5_000);
    expect((await daemon.processes()).filter((line) => /sleep 60[01]/.test(line))).toEqual([]);
  });

  test.for(rows)(
    '[P3.2] [P12.3] $executor with a model that its provider does not know fails as that; with a disabled one it does not start',
    async ({ executor }) => {
      const client = await daemon.client();
      const models = [
        { id: 'no-such-model', provider: 'open_source' as const, native: 'no-such-model', executors: [executor] },
      ];
      await client.call('policy.set', { models });
      const { ended } = await turn({ prompt: '{{say: Never said.}}', executor, model: 'no-such-model' });
      expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'model_not_found' });
      await client.call('policy.set', { models, executors: { [executor]: { disabledModels: ['no-such-model'] } } });
      const create = client.call('task.create', { prompt: 'x', executor, model: 'no-such-model' });
      await expect(create).rejects.toMatchObject({ code: 'model_disabled' });
      await client.call('policy.set', {});
    },
  );

  // Last, for the scripted model stands in only where no credential was ever given.
  const payments = rows.flatMap(({ executor, shows }) =>
    Object.entries(shows).map(([mode, headers]) => ({
      executor,
      mode: mode as 'credits' | 'api_key' | 'oauth',
      headers,
    })),
  );
  test.for(payments)(
    '[P12.1] $executor paid by $mode shows that credential, and no other',
    async ({ executor, mode, headers }) => {
      const client = await daemon.client();
      const value = `${executor}-${mode}-credential`;
      const member = mode === 'oauth' ? { member: 'ann' } : {};
      await client.call('credential.set', { executor, mode, value, ...member });
      await client.call('policy.set', {
        executors: { [executor]: { authMethod: mode, proxy: { baseUrl: modelUrl } } },
      });
      const { ended, events, asked } = await turn({ prompt: '{{say: Paid.}}', executor, ...member });
      expect(ended.data).toMatchObject({ outcome: 'succeeded' });
      expect(find(events, 'turn.started')).toMatchObject({ provider: 'configured', mode });
      const shown = asked.map(({ credentials }) => credentials);
      expect(shown.length).toBeGreaterThan(0);
      for (const each of shown) expect(each).toEqual(Object.fromEntries(headers.map((name) => [name, digest(value)])));
      await client.call('credential.clear', { executor, mode, ...member });
      await client.call('policy.set', {});
    },
  );
});
