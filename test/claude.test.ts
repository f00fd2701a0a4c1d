import { describe, expect, test } from 'vitest';
import { claude } from '../executors/claude.ts';
import { parser } from '../executors/claude-events.ts';
import { Secret } from '../src/base/secret.ts';
import type { Credential, Exit, PlanRequest } from '../src/kit/executor.ts';
import { exits, story, transcript } from './transcripts/claude.ts';

describe('what was used', () => {
  const counts = ['inputTokens', 'outputTokens', 'cacheReadTokens', 'cacheWriteTokens', 'costUsd'] as const;

  /** As the last result tells it, by model. */
  function lastUsage(name: string): Record<string, number[]> {
    const results = transcript(name)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; modelUsage: Record<string, Record<string, number>> })
      .filter(({ type }) => type === 'result');
    const names = ['inputTokens', 'outputTokens', 'cacheReadInputTokens', 'cacheCreationInputTokens', 'costUSD'];
    const models = Object.entries(results.at(-1)?.modelUsage ?? {});
    return Object.fromEntries(models.map(([model, used]) => [model, names.map((name) => used[name]!)]));
  }

  test.for(Object.keys(exits))('is told once, whatever number of results: %s', (name) => {
    const total: Record<string, number[]> = {};
    for (const { type, data } of story(name).events) {
      if (type !== 'usage.reported') continue;
      const sum = (total[data.model!] ??= counts.map(() => 0));
      for (const [index, count] of counts.entries()) sum[index]! += data[count]!;
    }
    const earlier = name === 'resume' ? lastUsage('success') : {}; // the CLI counts over the whole conversation
    const cumulative = Object.entries(lastUsage(name)).map(([model, used]) => [
      model,
      used.map((count, index) => expect.closeTo(count - (earlier[model]?.[index] ?? 0), 9) as number),
    ]);
    expect(total).toEqual(Object.fromEntries(cumulative));
  });
});

describe('the ending', () => {
  const result = (fields: object): string =>
    JSON.stringify({ type: 'result', is_error: false, modelUsage: {}, ...fields });
  const code = (code: number): Exit => ({ code, signal: null });
  const end = (lines: readonly string[], exit: Exit) => {
    let state = parser.start();
    for (const line of lines) ({ state } = parser.line(state, line));
    return parser.end(state, exit);
  };
  const retry = (status: number | null): string =>
    JSON.stringify({ type: 'system', subtype: 'api_retry', attempt: 1, error_status: status });
  const answer = JSON.stringify({ type: 'assistant', message: { content: [{ type: 'text', text: 'x' }] } });

  test('[P3.1] is success only with a result that is no error, and exit 0', () => {
    expect(end([result({})], code(0)).ending).toEqual({ outcome: 'succeeded', reason: 'completed' });
    const others: [string[], Exit][] = [
      [[], code(0)],
      [[answer], code(0)],
      [[result({})], code(1)],
      [[result({})], { code: null, signal: 'SIGKILL' }],
      [[result({})], { code: null, signal: null }],
      [[result({ is_error: true, subtype: 'success' })], code(0)],
      [[result({}), answer, result({ is_error: true })], code(0)],
    ];
    for (const [lines, exit] of others) expect(end(lines, exit).ending.outcome).toBe('failed');
  });

  test.for([
    [400, 'invalid_request'],
    [401, 'auth'],
    [402, 'billing'],
    [403, 'auth'],
    [404, 'model_not_found'],
    [413, 'too_long'],
    [429, 'rate_limited'],
    [500, 'provider_error'],
    [503, 'provider_error'],
    [529, 'provider_error'],
  ] as const)(
    '[P3.2] of a turn that met status %i is %s, with a result or ended while it retried',
    ([status, reason]) => {
      const ending = { outcome: 'failed', reason };
      const evidence = { httpStatus: status };
      const said = result({ is_error: true, api_error_status: status, result: 'no' });
      expect(end([said], code(1))).toMatchObject({ ending, evidence: { ...evidence, message: 'no' } });
      expect(end([retry(status)], { code: null, signal: 'SIGKILL' })).toMatchObject({ ending, evidence });
      expect(
        end([retry(status), result({ is_error: true, terminal_reason: 'aborted_streaming' })], code(0)),
      ).toMatchObject({ ending, evidence });
    },
  );

  const told = (error: string): string =>
    JSON.stringify({ type: 'assistant', message: { model: '<synthetic>', content: [] }, error });

  test.for([
    ['billing_error', { api_error_status: 400 }, 'billing'],
    ['max_output_tokens', {}, 'too_long'],
    ['invalid_request', { terminal_reason: 'prompt_too_long', api_error_status: 400 }, 'too_long'],
    ['invalid_request', { stop_reason: 'refusal' }, 'refused'],
    ['invalid_request', {}, 'invalid_request'],
    ['authentication_failed', {}, 'auth'],
    ['server_error', { api_error_type: 'overloaded_error' }, 'provider_error'],
    ['server_error', {}, 'stream_cut'],
  ] as const)('[P3.2] after an answer that the CLI says ended with %s, %j, is %s', ([error, fields, reason]) => {
    const said = result({ is_error: true, terminal_reason: 'api_error', ...fields });
    expect(end([answer, told(error), said], code(1)).ending.reason).toBe(reason);
  });

  test('[P3.2] names a fault that was overcome no more', () => {
    for (const fault of [retry(500), told('billing_error')])
      expect(end([fault, answer], { code: null, signal: 'SIGTERM' }).ending.reason).toBe('executor_killed');
  });

  test('[P3.2] is not another for what the provider streams', () => {
    const streamed = (event: object): string => JSON.stringify({ type: 'stream_event', event });
    const parts = [
      streamed({ type: 'message_start', message: {} }),
      streamed({ type: 'content_block_delta', delta: { type: 'text_delta', text: 'x' } }),
    ];
    const killed = { code: null, signal: 'SIGKILL' };
    for (const lines of [[], [retry(500)], [retry(null)], [retry(500), answer], [answer]])
      expect(end([...lines, ...parts], killed)).toEqual(end(lines, killed));
  });

  test('[P3.5] tells a signal from an exit, and an exit code from a result', () => {
    expect(end([], { code: null, signal: 'SIGSEGV' })).toEqual({
      ending: { outcome: 'failed', reason: 'executor_killed' },
      evidence: { saidResult: false },
    });
    expect(end([answer], code(143)).ending.reason).toBe('executor_killed');
    expect(end([], code(1)).ending.reason).toBe('executor_exited');
    expect(end([result({ is_error: true, errors: ['No conversation found', 'x'] })], code(1))).toEqual({
      ending: { outcome: 'failed', reason: 'executor_error' },
      evidence: { saidResult: true, message: 'No conversation found; x' },
    });
    expect(
      end([retry(null), answer, result({ is_error: true, terminal_reason: 'api_error' })], code(1)).ending.reason,
    ).toBe('stream_cut');
    expect(end([retry(null)], { code: null, signal: 'SIGINT' }).ending.reason).toBe('provider_unreachable');
  });
});

describe('the plan', () => {
  const key = new Secret('key');
  const request = (credential: Partial<Credential>, more: Partial<PlanRequest> = {}): PlanRequest => ({
    prompt: '--help\n-p',
    model: 'm',
    credential: { mode: 'api_key', value: key, ...credential },
    mcp: { name: 'harnessd', url: 'http://127.0.0.1:7/mcp', token: new Secret('turn-token') },
    workspace: '/w',
    configDir: '/c',
    tmpDir: '/t',
    ...more,
  });
  const args = [
    '--print',
    '--output-format',
    'stream-json',
    '--verbose',
    '--include-partial-messages',
    '--dangerously-skip-permissions',
    '--mcp-config',
    '/c/harnessd-mcp.json',
    '--strict-mcp-config',
    '--model',
    'm',
    '--managed-settings',
    '{"availableModels":["m"],"availableModelsMatch":"exact","modelOverrides":{"m":"m"}}',
  ];
  const isManaged = { CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST: '1' };
  const env = {
    CLAUDE_CONFIG_DIR: '/c',
    CLAUDE_CODE_TMPDIR: '/t',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    CLAUDE_CODE_MAX_RETRIES: '3',
    DISABLE_AUTOUPDATER: '1',
    IS_SANDBOX: '1',
    ENABLE_TOOL_SEARCH: 'false',
    ANTHROPIC_DEFAULT_OPUS_MODEL: 'm',
    ANTHROPIC_DEFAULT_SONNET_MODEL: 'm',
    ANTHROPIC_DEFAULT_HAIKU_MODEL: 'm',
    ANTHROPIC_DEFAULT_FABLE_MODEL: 'm',
    ANTHROPIC_SMALL_FAST_MODEL: 'm',
    CLAUDE_CODE_SUBAGENT_MODEL: 'm',
    ANTHROPIC_BASE_URL: 'https://api.anthropic.com',
  };
  const server = { type: 'http', url: 'http://127.0.0.1:7/mcp', headers: { Authorization: 'Bearer turn-token' } };
  const files = { 'harnessd-mcp.json': JSON.stringify({ mcpServers: { harnessd: server } }) };

  test.for([
    ['api_key', 'ANTHROPIC_API_KEY'],
    ['credits', 'ANTHROPIC_AUTH_TOKEN'],
    ['oauth', 'CLAUDE_CODE_OAUTH_TOKEN'],
  ] as const)(
    'gives a credential of the mode %s by exactly one variable, and the prompt by standard input',
    ([mode, name]) => {
      expect(claude.plan(request({ mode }))).toEqual({
        args,
        env: { ...env, ...isManaged, [name]: key },
        files,
        stdin: '--help\n-p',
      });
    },
  );

  test('gives a login by its own file, and by no variable, and reads no settings of the workspace then', () => {
    expect(claude.plan(request({ mode: 'oauth', isFile: true }))).toEqual({
      args: [...args, '--setting-sources', 'user', '--add-dir', '/w'],
      env: { ...env, CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD: '1' },
      files: { ...files, '.credentials.json': 'key' },
      stdin: '--help\n-p',
    });
  });

  test('goes on with a conversation, and asks another address', () => {
    expect(claude.plan(request({ baseUrl: 'http://127.0.0.1:1' }, { resume: 'abc' }))).toEqual({
      args: [...args, '--resume', 'abc'],
      env: { ...env, ...isManaged, ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: 'http://127.0.0.1:1' },
      files,
      stdin: '--help\n-p',
    });
  });

  test('lets no prompt be a command of the CLI', () => {
    const stdin = (prompt: string): string => claude.plan(request({}, { prompt })).stdin;
    expect(['/model other', ' /cost', 'a'].map(stdin)).toEqual(['\n/model other', ' /cost', 'a']);
  });
});
