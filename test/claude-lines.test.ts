import { describe, expect, test } from 'vitest';
import { parser } from '../executors/claude-events.ts';
import type { ExecutorEvent } from '../src/protocol/events.ts';

describe('a line', () => {
  const fold = (...lines: readonly string[]): readonly ExecutorEvent[] => {
    let state = parser.start();
    return lines.flatMap((line) => {
      const step = parser.line(state, line);
      ({ state } = step);
      return step.events;
    });
  };

  test('[P3.5] that is not known is kept as it came, an empty one is not', () => {
    for (const text of ['garbage', '{"type":"new"}', '{"type":"assistant"}', '[]', 'null', '{"type":"result"}', '{'])
      expect(fold(text)).toEqual([{ type: 'executor.unparsed', data: { text } }]);
    for (const text of ['', ' ', '\r']) expect(fold(text)).toEqual([]);
  });

  test('of the provider’s stream tells the parts of a text, but no agent’s that was asked, and nothing else', () => {
    const streamed = (event: object, more: object = {}): string =>
      JSON.stringify({ type: 'stream_event', event, api_message_id: 'm', parent_tool_use_id: null, ...more });
    const delta = (delta: object): object => ({ type: 'content_block_delta', index: 0, delta });
    const text = delta({ type: 'text_delta', text: 'part' });
    expect(fold(streamed(text))).toEqual([{ type: 'message.delta', data: { text: 'part', messageId: 'm' } }]);
    const untold = [
      streamed(text, { parent_tool_use_id: 'a' }),
      streamed(delta({ type: 'input_json_delta', partial_json: '{' })),
      streamed(delta({ type: 'thinking_delta', thinking: 'hm' })),
      streamed({ type: 'content_block_start', content_block: { type: 'text', text: '' } }),
      streamed({ type: 'message_start', message: {} }),
      streamed({ type: 'message_delta', delta: { stop_reason: 'end_turn' } }),
      streamed({ type: 'ping' }),
    ];
    expect(fold(...untold)).toEqual([]);
    expect(fold(streamed({ type: 'new' }))).toMatchObject([{ type: 'executor.unparsed' }]);
  });

  test('of an answer after a retry is told at its first part, which may be a thought', () => {
    const retry = '{"type":"system","subtype":"api_retry","attempt":1}';
    const begun = '{"type":"stream_event","event":{"type":"message_start"},"api_message_id":"m"}';
    expect(fold(retry, begun).at(-1)).toEqual({ type: 'message.delta', data: { text: '', messageId: 'm' } });
  });

  test.for([
    ['Read', { file_path: '/a' }, { kind: 'read', paths: ['/a'] }],
    ['Write', { file_path: '/a', content: '' }, { kind: 'edit', paths: ['/a'] }],
    ['Edit', { file_path: '/a' }, { kind: 'edit', paths: ['/a'] }],
    ['MultiEdit', { file_path: '/a' }, { kind: 'edit', paths: ['/a'] }],
    ['NotebookEdit', { notebook_path: '/a' }, { kind: 'edit', paths: ['/a'] }],
    ['Glob', { pattern: '*' }, { kind: 'search' }],
    ['Grep', { pattern: 'x', path: '/a' }, { kind: 'search', paths: ['/a'] }],
    ['LS', { path: '/a' }, { kind: 'search', paths: ['/a'] }],
    ['Bash', { command: 'true' }, { kind: 'execute' }],
    ['WebFetch', { url: 'http://h' }, { kind: 'fetch' }],
    ['WebSearch', { query: 'x' }, { kind: 'fetch' }],
    ['Agent', { prompt: 'x' }, { kind: 'think' }],
    ['Task', { prompt: 'x' }, { kind: 'think' }],
    ['Read', { file_path: 7 }, { kind: 'read' }],
    ['mcp__harnessd__computer_info', { path: '/a' }, {}],
    ['constructor', { path: '/a' }, {}],
    ['__proto__', { path: '/a' }, {}],
  ] as const)('that calls %s tells what kind of tool it is, and its files', ([name, input, known]) => {
    const line = { type: 'assistant', message: { content: [{ type: 'tool_use', id: 'a', name, input }] } };
    expect(fold(JSON.stringify(line))).toEqual([{ type: 'tool.called', data: { callId: 'a', name, input, ...known } }]);
  });

  test('of a list of steps tells the whole list each time it changes, if it is the turn’s own', () => {
    const write = (parent: string | null, ...statuses: string[]): string => {
      const todos = statuses.map((status, at) => ({ content: `step ${at}`, status, activeForm: 'x' }));
      const content = [{ type: 'tool_use', id: 'a', name: 'TodoWrite', input: { todos } }];
      return JSON.stringify({ type: 'assistant', message: { content }, parent_tool_use_id: parent });
    };
    const plans = fold(
      write(null, 'pending', 'pending'),
      write(null, 'completed', 'in_progress'),
      write(null, 'completed', 'in_progress'),
      write('b', 'completed'),
    ).flatMap(({ type, data }) =>
      type === 'plan.updated' ? [data.entries.map(({ text, status }) => `${text}: ${status}`)] : [],
    );
    expect(plans).toEqual([
      ['step 0: pending', 'step 1: pending'],
      ['step 0: completed', 'step 1: in_progress'],
    ]);
  });

  test('tells a denied permission, and a tool’s output of any shape', () => {
    expect(fold('{"type":"system","subtype":"permission_denied","tool_name":"Bash","message":"no"}')).toEqual([
      { type: 'warning.raised', data: { code: 'permission_denied', message: 'Bash: no' } },
    ]);
    const finished = (content: unknown) =>
      fold(
        JSON.stringify({ type: 'user', message: { content: [{ type: 'tool_result', tool_use_id: 'a', content }] } }),
      );
    const image = { type: 'image', source: {} };
    for (const [content, output] of [
      ['x', 'x'],
      [undefined, ''],
      [null, ''],
      [[{ type: 'text', text: 'x' }, image], `x\n${JSON.stringify(image)}`],
    ])
      expect(finished(content)).toEqual([{ type: 'tool.finished', data: { callId: 'a', outcome: 'ok', output } }]);
  });

  test('[P3.5] with a tool’s result beside something unknown tells the result, and keeps the other as it came', () => {
    const other = { type: 'new', x: 1 };
    const content = [{ type: 'tool_result', tool_use_id: 'a', content: 'x' }, other];
    expect(fold(JSON.stringify({ type: 'user', message: { content } }))).toEqual([
      { type: 'tool.finished', data: { callId: 'a', outcome: 'ok', output: 'x' } },
      { type: 'executor.unparsed', data: { text: JSON.stringify(other) } },
    ]);
  });

  test('of hooks and refusals tells nothing that others tell; a notice is told, and the retry of an agent that was asked', () => {
    const system = (subtype: string, more: object = {}): string => JSON.stringify({ type: 'system', subtype, ...more });
    const progress = (more: object): string => JSON.stringify({ type: 'tool_progress', tool_use_id: 'a', ...more });
    const subagent_retry = {
      attempt: 1,
      max_retries: 3,
      retry_delay_ms: 500,
      error_status: 529,
      error_category: 'overloaded',
    };
    const silent = ['hook_started', 'hook_response', 'model_refusal_no_fallback'].map((subtype) => system(subtype));
    expect(fold(...silent, progress({}))).toEqual([]);
    expect(fold(system('informational', { content: 'note' }), progress({ subagent_retry }))).toEqual([
      { type: 'warning.raised', data: { code: 'executor_notice', message: 'note' } },
      {
        type: 'retry.announced',
        data: { attempt: 1, maxAttempts: 3, delayMs: 500, httpStatus: 529, message: 'overloaded' },
      },
    ]);
  });

  test.for([
    { type: 'system', subtype: 'api_retry', attempt: -1 },
    { type: 'system', subtype: 'api_retry', attempt: 1, max_retries: -1 },
    { type: 'system', subtype: 'api_retry', attempt: 1, retry_delay_ms: -1 },
    { type: 'tool_progress', subagent_retry: { attempt: 0.5 } },
    { type: 'result', is_error: false, modelUsage: { m: { inputTokens: -1, outputTokens: 0 } } },
    { type: 'result', is_error: false, modelUsage: { m: { inputTokens: 0, outputTokens: 0, costUSD: -1 } } },
  ])('[P3.5] with a number that no event can hold is kept as it came: %j', (line) => {
    const text = JSON.stringify(line);
    expect(fold(text)).toEqual([{ type: 'executor.unparsed', data: { text } }]);
  });
});
