import { describe, expect, test } from 'vitest';
import { codex } from '../executors/codex.ts';
import { parser } from '../executors/codex-events.ts';
import { Secret } from '../src/base/secret.ts';
import type { Exit, PlanRequest } from '../src/kit/executor.ts';
import type { ExecutorEvent } from '../src/protocol/events.ts';
import { exits, story, transcript } from './transcripts/codex.ts';

describe('what was used', () => {
  const usageIn = (name: string) =>
    story(name).events.flatMap(({ type, data }) => (type === 'usage.reported' ? data : []));

  test('is told once, and as the sum of the conversation, which is how the CLI counts', () => {
    const data = { cacheWriteTokens: 0 };
    // 1000 new, 200 cached and 50 out; then in the same conversation 10 more, 2 cached and 5 out.
    expect(usageIn('thinking')).toEqual([{ ...data, inputTokens: 1000, cacheReadTokens: 200, outputTokens: 50 }]);
    expect(usageIn('resumed')).toEqual([{ ...data, inputTokens: 1010, cacheReadTokens: 202, outputTokens: 55 }]);
  });

  test.for(Object.keys(exits))('is told exactly where the CLI tells it, and each token in one place: %s', (name) => {
    const told = transcript(name)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { usage?: { input_tokens: number } })
      .flatMap(({ usage }) => usage?.input_tokens ?? []);
    const sums = usageIn(name).map((used) => used.inputTokens + used.cacheReadTokens + used.cacheWriteTokens);
    expect(sums).toEqual(told);
  });
});

describe('the ending', () => {
  const code = (code: number): Exit => ({ code, signal: null });
  const end = (lines: readonly object[], exit: Exit) => {
    let state = parser.start();
    for (const line of lines) ({ state } = parser.line(state, JSON.stringify(line)));
    return parser.end(state, exit);
  };
  const completed = { type: 'turn.completed', usage: { input_tokens: 1, output_tokens: 1 } };
  const failed = (message: string): object => ({ type: 'turn.failed', error: { message } });
  const retry = (fault: string): object => ({ type: 'error', message: `Reconnecting... 1/1 (${fault})` });
  const answer = { type: 'item.completed', item: { id: 'item_1', type: 'agent_message', text: 'x' } };

  test('[P3.1] is success only with a completed turn, and exit 0', () => {
    expect(end([completed], code(0)).ending).toEqual({ outcome: 'succeeded', reason: 'completed' });
    const others: [object[], Exit][] = [
      [[], code(0)],
      [[answer], code(0)],
      [[completed], code(1)],
      [[completed], { code: null, signal: 'SIGKILL' }],
      [[completed], { code: null, signal: null }],
      [[failed('no')], code(0)],
      [[completed, failed('no')], code(0)],
    ];
    for (const [lines, exit] of others) expect(end(lines, exit).ending.outcome).toBe('failed');
  });

  test.for([
    [401, 'auth'],
    [402, 'billing'],
    [403, 'auth'],
    [404, 'model_not_found'],
    [413, 'too_long'],
    [429, 'rate_limited'],
    [502, 'provider_error'],
    [529, 'provider_error'],
  ] as const)(
    '[P3.2] of a turn that met status %i is %s, with a result or ended while it retried',
    ([status, reason]) => {
      const ending = { outcome: 'failed', reason };
      for (const message of [
        `unexpected status ${status} Whatever: no, url: http://127.0.0.1/v1/responses`,
        `exceeded retry limit, last status: ${status} Whatever`,
      ]) {
        const evidence = { httpStatus: status, message };
        expect(end([failed(message)], code(1))).toEqual({ ending, evidence: { ...evidence, saidResult: true } });
        expect(end([retry(message)], { code: null, signal: 'SIGKILL' })).toEqual({
          ending,
          evidence: { ...evidence, saidResult: false },
        });
      }
    },
  );

  test.for([
    ['Connection failed: error sending request', 'provider_unreachable'],
    ['stream disconnected before completion: error sending request', 'provider_unreachable'],
    ['stream disconnected before completion: idle timeout waiting for SSE', 'stream_cut'],
    ['stream disconnected before completion: stream closed before response.completed', 'stream_cut'],
    [
      'stream disconnected before completion: Transport error: network error: error decoding response body',
      'stream_cut',
    ],
    ['stream disconnected before completion: Incomplete response returned, reason: content_filter', 'refused'],
    ['stream disconnected before completion: Incomplete response returned, reason: max_output_tokens', 'too_long'],
    ['stream disconnected before completion: Incomplete response returned, reason: new', 'provider_error'],
    ['stream disconnected before completion: The server had an error processing your request.', 'provider_error'],
    ['Incomplete response returned, reason: content_filter', 'refused'],
    ['This request has been flagged for possible cybersecurity risk.', 'refused'],
    ["Codex ran out of room in the model's context window. Start a new thread.", 'too_long'],
    ['rate limit exceeded: Rate limit reached. Please try again in 2s.', 'rate_limited'],
    ['You’ve hit your usage limit. Try again at Nov 24th, 2026 6:00 AM.', 'rate_limited'],
    ['Quota exceeded. Check your plan and billing details.', 'billing'],
    ['We’re currently experiencing high demand, which may cause temporary errors.', 'provider_error'],
    ['Selected model is at capacity. Please try a different model.', 'provider_error'],
    ['The model `x` does not exist or you do not have access to it.', 'model_not_found'],
    ['{"error":{"message":"unexpected status 401","type":"invalid_request_error"}}', 'invalid_request'],
    ['Missing environment variable: `X`.', 'executor_error'],
  ] as const)('[P3.2] told in words alone, “%s”, is %s', ([message, reason]) => {
    expect(end([failed(message)], code(1))).toEqual({
      ending: { outcome: 'failed', reason },
      evidence: { saidResult: true, message },
    });
  });

  test('[P3.2] names a fault that was overcome no more', () => {
    expect(end([retry('Connection failed: x'), answer], { code: null, signal: 'SIGTERM' })).toEqual({
      ending: { outcome: 'failed', reason: 'executor_killed' },
      evidence: { saidResult: false },
    });
  });

  test('[P3.5] tells a signal from an exit', () => {
    expect(end([], { code: null, signal: 'SIGSEGV' }).ending.reason).toBe('executor_killed');
    expect(end([answer], code(143)).ending.reason).toBe('executor_killed');
    expect(end([answer], code(1)).ending.reason).toBe('executor_exited');
  });
});

describe('a line', () => {
  const fold = (...lines: readonly (string | object)[]): readonly ExecutorEvent[] => {
    let state = parser.start();
    return lines.flatMap((line) => {
      const step = parser.line(state, typeof line === 'string' ? line : JSON.stringify(line));
      ({ state } = step);
      return step.events;
    });
  };
  const item = (when: 'started' | 'updated' | 'completed', fields: object): object => ({
    type: `item.${when}`,
    item: { id: 'item_0', ...fields },
  });

  test('[P3.5] that is not known is kept as it came, an empty one is not', () => {
    const unknown = [
      'garbage',
      '{"type":"new"}',
      '{"type":"item.completed","item":{"id":"a","type":"new"}}',
      '{"type":"turn.completed"}',
      '[]',
      'null',
      '{',
    ];
    for (const text of unknown) expect(fold(text)).toEqual([{ type: 'executor.unparsed', data: { text } }]);
    for (const text of ['', ' ', '\r']) expect(fold(text)).toEqual([]);
  });

  test('[P3.5] whose numbers make no sense is kept as it came, or told without them', () => {
    const usage = (fields: object): string =>
      JSON.stringify({ type: 'turn.completed', usage: { input_tokens: 1, output_tokens: 1, ...fields } });
    const absurd = ['input_tokens', 'cached_input_tokens', 'cache_write_input_tokens', 'output_tokens'].flatMap(
      (name) => [-1, 0.5, 1e300].map((value) => usage({ [name]: value })),
    );
    for (const text of absurd) expect(fold(text)).toEqual([{ type: 'executor.unparsed', data: { text } }]);
    expect(fold({ type: 'error', message: `Reconnecting... ${'9'.repeat(30)}/5 (no)` })).toEqual([
      { type: 'retry.announced', data: { attempt: 1, message: 'no' } },
    ]);
  });

  test('of a list of steps is told each time it changes, and no more at the end', () => {
    const list = (...done: boolean[]): object => ({
      type: 'todo_list',
      items: done.map((completed, index) => ({ text: `step ${index}`, completed })),
    });
    const plan = (...statuses: string[]): object => ({
      type: 'plan.updated',
      data: { entries: statuses.map((status, index) => ({ text: `step ${index}`, status })) },
    });
    expect(
      fold(
        item('started', list(false, false)),
        item('updated', list(true, false)),
        item('updated', list(true, true)),
        item('completed', list(true, true)),
      ),
    ).toEqual([plan('pending', 'pending'), plan('completed', 'pending'), plan('completed', 'completed')]);
  });

  test('that tells only the end of a call tells its beginning too; one that tells a part tells nothing new', () => {
    const search = { type: 'web_search', query: 'tides', action: { type: 'search' } };
    const called = {
      type: 'tool.called',
      data: {
        callId: 'item_0',
        name: 'web_search',
        input: { query: 'tides', action: { type: 'search' } },
        kind: 'fetch',
      },
    };
    const finished = { type: 'tool.finished', data: { callId: 'item_0', outcome: 'ok', output: '' } };
    expect(fold(item('completed', search))).toEqual([called, finished]);
    expect(fold(item('started', search), item('updated', search), item('completed', search))).toEqual([
      called,
      finished,
    ]);
  });

  test('tells what an MCP server answered, of any shape, and why it failed', () => {
    const call = (fields: object): ExecutorEvent | undefined =>
      fold(item('completed', { type: 'mcp_tool_call', server: 's', tool: 't', arguments: {}, ...fields }))[1];
    const data = (outcome: string, output: string): object => ({
      type: 'tool.finished',
      data: { callId: 'item_0', outcome, output },
    });
    const image = { type: 'image', data: 'x' };
    expect(
      call({ status: 'completed', result: { content: [{ type: 'text', text: 'a' }, image] }, error: null }),
    ).toEqual(data('ok', `a\n${JSON.stringify(image)}`));
    expect(call({ status: 'failed', result: null, error: { message: 'no' } })).toEqual(data('error', 'no'));
  });
});

describe('the plan', () => {
  const key = new Secret('key');
  const request = (more: Partial<PlanRequest> = {}): PlanRequest => ({
    prompt: '--help\n-',
    model: 'm',
    credential: { mode: 'api_key', value: key },
    mcp: { name: 'harnessd', url: 'http://127.0.0.1:7/mcp', token: new Secret('turn-token') },
    workspace: '/w',
    configDir: '/c',
    tmpDir: '/t',
    ...more,
  });
  const flags = ['--json', '--dangerously-bypass-approvals-and-sandbox', '--skip-git-repo-check', '--model', 'm'];
  const config = (provider: string, mcp: string): string => `check_for_update_on_startup = false
allow_login_shell = false
analytics = { "enabled" = false }
features = { "plugins" = false, "remote_plugin" = false, "apps" = false, "daemon_auto_start" = false, "unbounded_connection_retries" = false }
model_provider = "harnessd"
model_providers = { "harnessd" = { "name" = "harnessd", "base_url" = ${provider}, "env_key" = "HARNESSD_MODEL_KEY", "wire_api" = "responses", "stream_max_retries" = 1, "request_max_retries" = 4 } }
shell_environment_policy = { "exclude" = ["HARNESSD_MODEL_KEY"] }
mcp_servers = { "harnessd" = { "url" = ${mcp}, "http_headers" = { "Authorization" = "Bearer turn-token" }, "default_tools_approval_mode" = "approve", "startup_timeout_sec" = 20, "tool_timeout_sec" = 3600 } }
`;
  const env = { CODEX_HOME: '/c', HARNESSD_MODEL_KEY: key };
  const mcp = '"http://127.0.0.1:7/mcp"';

  test('asks the vendor with a key of one’s own, and gives the prompt by standard input', () => {
    expect(codex.plan(request())).toEqual({
      args: ['exec', ...flags, '-'],
      env,
      files: { 'config.toml': config('"https://api.openai.com/v1"', mcp) },
      stdin: '--help\n-',
    });
  });

  test.for(['http://127.0.0.1:1', 'http://127.0.0.1:1/v1'])('goes on with a conversation, and asks %s', (baseUrl) => {
    expect(codex.plan(request({ resume: 'abc', credential: { mode: 'credits', value: key, baseUrl } }))).toEqual({
      args: ['exec', 'resume', ...flags, 'abc', '-'],
      env,
      files: { 'config.toml': config('"http://127.0.0.1:1/v1"', mcp) },
      stdin: '--help\n-',
    });
  });

  test('writes any text as a string of TOML', () => {
    const url = 'http://h/"q"\\ü🙂\n\u007f';
    const credential = { mode: 'credits', value: key, baseUrl: url } as const;
    expect(codex.plan(request({ credential })).files).toEqual({
      'config.toml': config(String.raw`"http://h/\"q\"\\ü🙂\n\u007f/v1"`, mcp),
    });
  });
});
