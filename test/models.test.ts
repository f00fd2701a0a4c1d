import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DaemonError } from '../src/protocol/errors.ts';
import type { PaymentMode } from '../src/protocol/payment.ts';
import { startDaemon, type TestDaemon } from './support/daemon.ts';

/* What the product promises: which executor may use which model, and who pays. Written out here, not taken from the code. */
const models: Readonly<Record<string, readonly string[]>> = {
  'claude-opus-4.6': ['claude', 'opencode'],
  'claude-sonnet-4.6': ['claude', 'opencode'],
  'gpt-5.4': ['claude', 'codex', 'opencode'],
  'gpt-5.3-codex': ['claude', 'codex', 'opencode'],
  'gemini-3.1-pro': ['claude', 'opencode'],
  'gemini-3-flash': ['claude', 'opencode'],
  'auto-gemini-3': ['gemini'],
  'minimax-m2.7': ['claude', 'opencode'],
  'kimi-k2.5': ['claude', 'opencode'],
  'glm-5': ['claude', 'opencode'],
};
const defaults = {
  claude: 'claude-sonnet-4.6',
  codex: 'gpt-5.4',
  gemini: 'auto-gemini-3',
  opencode: 'gemini-3.1-pro',
} as const;
const ownKey: Readonly<Record<string, readonly string[]>> = {
  claude: ['claude-sonnet-4.6', 'claude-opus-4.6'],
  codex: ['gpt-5.4', 'gpt-5.3-codex'],
  gemini: ['auto-gemini-3'],
  opencode: [],
};
const modes: Readonly<Record<string, readonly PaymentMode[]>> = {
  claude: ['credits', 'api_key', 'oauth'],
  codex: ['credits', 'api_key'],
  gemini: ['credits', 'api_key', 'oauth'],
  opencode: ['credits'],
};
const executors = Object.keys(defaults) as (keyof typeof defaults)[];

const isAllowed = (model: string, executor: string, mode: PaymentMode): boolean =>
  modes[executor]!.includes(mode) &&
  models[model]!.includes(executor) &&
  (mode === 'credits' || ownKey[executor]!.includes(model));

const cells = executors.flatMap((executor) =>
  (['credits', 'api_key', 'oauth'] as const).flatMap((mode) =>
    Object.keys(models).map((model) => ({ model, executor, mode, allowed: isAllowed(model, executor, mode) })),
  ),
);

describe('every model with every executor and every way of paying', () => {
  let daemon: TestDaemon;
  beforeAll(async () => {
    const binaries = executors.map((id) => `${id}=/bin/true`).join(',');
    daemon = await startDaemon({ flags: { 'offline-model': 'off', 'executors-binaries': binaries } });
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test('is listed as it may be used', async () => {
    const client = await daemon.client();
    const listed = (await client.call('model.list', {})).executors;
    expect(listed.map(({ executor, defaultModel }) => [executor, defaultModel])).toEqual(Object.entries(defaults));
    const offered = listed.flatMap(({ executor, modes: by }) =>
      by.flatMap(({ mode, models: some }) => some.map(({ model }) => `${model} ${executor} ${mode}`)),
    );
    const expected = cells.filter(({ allowed }) => allowed);
    expect(offered.toSorted()).toEqual(
      expected.map(({ model, executor, mode }) => `${model} ${executor} ${mode}`).toSorted(),
    );
  });

  test.for(executors.flatMap((executor) => modes[executor]!.map((mode) => [executor, mode] as const)))(
    '[P12.3] %s paid by %s takes its models, and refuses each other by naming them',
    async ([executor, mode]) => {
      const client = await daemon.client();
      await client.call('policy.set', {
        executors: { [executor]: { authMethod: mode, proxy: { baseUrl: 'http://127.0.0.1:9' } } },
      });
      const member = mode === 'oauth' ? { member: 'ann' } : {};
      await client.call('credential.set', { executor, mode, ...member, value: 'a credential' });
      const outcomes: unknown[] = [];
      for (const { model } of cells.filter((cell) => cell.executor === executor && cell.mode === mode)) {
        const made = client.call('task.create', { prompt: 'x', executor, model, member: 'ann' });
        outcomes.push([model, await made.then(() => 'taken', refusal)]);
      }
      const allowed = Object.keys(models).filter((model) => isAllowed(model, executor, mode));
      expect(outcomes).toEqual(
        Object.keys(models).map((model) => [
          model,
          allowed.includes(model) ? 'taken' : { code: 'model_not_allowed', executor, mode, model, allowed },
        ]),
      );
    },
  );

  test.for(
    executors.flatMap((id) =>
      (['credits', 'api_key', 'oauth'] as const)
        .filter((mode) => !modes[id]!.includes(mode))
        .map((mode) => [id, mode] as const),
    ),
  )('[P10.1] %s cannot be paid by %s', async ([executor, mode]) => {
    const client = await daemon.client();
    const set = client.call('policy.set', { executors: { [executor]: { authMethod: mode } } });
    await expect(set).rejects.toMatchObject({ code: 'invalid_params' });
    const given = client.call('credential.set', { executor, mode, member: 'ann', value: 'a credential' });
    await expect(given).rejects.toMatchObject({ code: 'invalid_params' });
  });

  test('[P12.3] a default that is disabled is refused with what is allowed, never replaced', async () => {
    const client = await daemon.client();
    const disabledModels = ['claude-sonnet-4.6', 'gpt-5.4'];
    await client.call('policy.set', {
      executors: { claude: { authMethod: 'api_key', disabledModels } },
    });
    const made = (model?: string) =>
      client.call('task.create', { prompt: 'x', ...(model && { model }) }).then(() => 'taken', refusal);
    const refused = {
      code: 'model_disabled',
      executor: 'claude',
      mode: 'api_key',
      model: 'claude-sonnet-4.6',
      allowed: ['claude-opus-4.6'],
    };
    expect([await made(), await made('claude-sonnet-4.6'), await made('claude-opus-4.6')]).toEqual([
      refused,
      refused,
      'taken',
    ]);
  });

  test('[P12.3] a model of the policy’s own needs no code, and takes the place of one with its name', async () => {
    const client = await daemon.client();
    const model = { provider: 'anthropic' as const, executors: ['claude'] };
    await client.call('policy.set', {
      executors: { claude: { authMethod: 'api_key' } },
      models: [
        { ...model, id: 'claude-next', native: 'claude-next-1' },
        { ...model, id: 'claude-opus-4.6', native: 'claude-opus-4-6-fast' },
      ],
    });
    const [claude] = (await client.call('model.list', { executor: 'claude' })).executors;
    const byKey = claude!.modes.find(({ mode }) => mode === 'api_key')!.models;
    expect(byKey.map((each) => [each.model, each.native])).toEqual([
      ['claude-sonnet-4.6', 'claude-sonnet-4-6'],
      ['claude-next', 'claude-next-1'],
      ['claude-opus-4.6', 'claude-opus-4-6-fast'],
    ]);
    await client.call('task.create', { prompt: 'x', model: 'claude-next' });
  });

  test('[P10.1] a policy for what does not exist is refused: it would allow what it was to forbid', async () => {
    const client = await daemon.client();
    const model = { id: 'x', provider: 'openai', native: 'x', executors: ['codex'] };
    const set = (policy: object) => client.call('policy.set', policy).then(() => 'taken', refusal);
    expect(
      await Promise.all([
        set({ executors: { claudee: { enabled: false } } }),
        set({ executors: { claude: { enable: false } } }),
        set({ models: [{ id: 'x', provider: 'openai', native: 'x', executors: ['codecs'] }] }),
        set({ executors: { claude: { proxy: { baseUrl: 'http://user:pass@host/' } } } }),
        set({ executors: { claude: { disabledModels: ['claude-opus-4-6'] } } }),
        set({ models: [model, model] }),
        set({ executors: JSON.parse('{"__proto__":{"enabled":false}}') as object }),
      ]),
    ).toEqual([
      {
        code: 'invalid_params',
        issues: [
          { path: 'executors.claudee', message: 'no such executor; there are: claude, codex, gemini, opencode' },
        ],
      },
      { code: 'invalid_params', issues: [{ path: 'executors.claude.enable', message: 'unknown field' }] },
      { code: 'invalid_params', issues: [{ path: 'models.0.executors', message: 'no executor codecs' }] },
      {
        code: 'invalid_params',
        issues: [
          {
            path: 'executors.claude.proxy.baseUrl',
            message: 'must be an http or https URL without user, query and fragment',
          },
        ],
      },
      {
        code: 'invalid_params',
        issues: [{ path: 'executors.claude.disabledModels', message: 'no model claude-opus-4-6' }],
      },
      { code: 'invalid_params', issues: [{ path: 'models.1.id', message: 'x is there twice' }] },
      { code: 'invalid_params', issues: [{ path: 'executors', message: 'must not have the key __proto__' }] },
    ]);
  });
});

function refusal(error: unknown): object {
  if (!(error instanceof DaemonError)) throw error;
  const { fault: _, retry: __, code: ___, ...data } = error.data;
  return { code: error.code, ...data };
}
