import { describe, expect, test } from 'vitest';
import { parser } from '../executors/gemini-events.ts';
import type { Exit } from '../src/kit/executor.ts';
import type { ExecutorEvent } from '../src/protocol/events.ts';
import { exits, story, transcript } from './transcripts/gemini.ts';

describe('what was used', () => {
  interface Total {
    readonly total_tokens: number;
    readonly cached: number;
  }

  test.for(Object.keys(exits))('is told once, each token in one place: %s', (name) => {
    const lines = transcript(name).trimEnd().split('\n');
    const results = lines.map((line) => JSON.parse(line) as { type: string; stats: Total });
    const { total_tokens: total, cached } = results.find(({ type }) => type === 'result')?.stats ?? {
      total_tokens: 0,
      cached: 0,
    };
    const used = story(name).events.flatMap(({ type, data }) => (type === 'usage.reported' ? [data] : []));
    const sum = (counts: readonly number[]): number => counts.reduce((all, count) => all + count, 0);
    expect({
      total: sum(used.map((each) => each.inputTokens + each.cacheReadTokens + each.outputTokens)),
      cached: sum(used.map(({ cacheReadTokens }) => cacheReadTokens)),
    }).toEqual({ total, cached });
  });
});

const result = (fields: object): string => JSON.stringify({ type: 'result', status: 'success', ...fields });
const failed = (message?: string, type = 'unknown'): string =>
  result({ status: 'error', ...(message !== undefined && { error: { type, message } }) });
const answer = JSON.stringify({ type: 'message', role: 'assistant', content: 'x', delta: true });
const prompt = JSON.stringify({ type: 'message', role: 'user', content: 'x' });
const code = (code: number): Exit => ({ code, signal: null });

describe('a message', () => {
  const fold = (lines: readonly string[]): readonly ExecutorEvent[] => {
    let state = parser.start();
    return lines.flatMap((line) => {
      const step = parser.line(state, line);
      ({ state } = step);
      return step.events;
    });
  };
  const delta = (messageId: string) => ({ type: 'message.delta', data: { text: 'x', messageId } });
  const added = (messageId: string, text: string) => ({ type: 'message.added', data: { text, messageId } });

  test('is told in parts as it comes, and as a whole when another line follows', () => {
    expect(fold([prompt, answer, answer, result({}), answer])).toEqual([
      delta('1'),
      delta('1'),
      added('1', 'xx'),
      delta('2'),
    ]);
  });

  test('goes on past a line that nobody knows', () => {
    const unparsed = { type: 'executor.unparsed', data: { text: 'noise' } };
    expect(fold([answer, 'noise', answer, prompt])).toEqual([delta('1'), unparsed, delta('1'), added('1', 'xx')]);
  });
});

describe('the ending', () => {
  const end = (lines: readonly string[], exit: Exit) => {
    let state = parser.start();
    for (const line of lines) ({ state } = parser.line(state, line));
    return parser.end(state, exit);
  };
  const quoted = (status: number): string => `[API Error: {"error":{"code":${status},"message":"no","status":"X"}}]`;

  test('[P3.1] is success only with a result that is no error, and exit 0', () => {
    expect(end([result({})], code(0)).ending).toEqual({ outcome: 'succeeded', reason: 'completed' });
    const others: [string[], Exit][] = [
      [[], code(0)], // as after SIGINT and SIGTERM
      [[answer], code(0)],
      [[result({})], code(1)],
      [[result({})], { code: null, signal: 'SIGKILL' }],
      [[result({})], { code: null, signal: null }],
      [[failed()], code(0)],
      [[failed('no')], code(0)],
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
  ] as const)('[P3.2] of a turn that met status %i is %s, by its words or its exit code', ([status, reason]) => {
    const ending = { outcome: 'failed', reason };
    expect(end([failed(quoted(status))], code(1))).toMatchObject({ ending, evidence: { httpStatus: status } });
    const byExit = end([failed('[API Error: no]')], code(status % 256));
    expect(byExit).toMatchObject({ ending, evidence: { httpStatus: status, message: '[API Error: no]' } });
  });

  test.for([
    ['[API Error: exception TypeError: fetch failed sending request]', 'provider_unreachable'],
    ['[API Error: connect ECONNREFUSED 127.0.0.1:9]', 'provider_unreachable'],
    ['[API Error: terminated]', 'stream_cut'],
    ['[API Error: Requested entity was not found.]', 'model_not_found'],
    ['[API Error: models/m is not found for API version v1beta]', 'model_not_found'],
    ['[API Error: getaddrinfo ENOTFOUND generativelanguage.googleapis.com]', 'provider_unreachable'],
    ['Error executing tool: no file was not found', 'executor_error'],
    ['[API Error: {"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}]', 'auth'],
    ['[API Error: {"error":{"code":429,"message":"Your prepayment credits are depleted."}}]', 'billing'],
    [
      '[API Error: {"error":{"code":400,"message":"The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."}}]',
      'too_long',
    ],
    ['Something else', 'executor_error'],
  ] as const)('[P3.2] after %s is %s', ([message, reason]) => {
    expect(end([failed(message)], code(1))).toMatchObject({
      ending: { outcome: 'failed', reason },
      evidence: { saidResult: true, message },
    });
  });

  test('[P3.2] of a stream without a finish reason is that it was cut, though the exit code is 0', () => {
    const message = 'Model stream ended without a finish reason.';
    const error = JSON.stringify({ type: 'error', severity: 'error', message });
    expect(end([answer, error, failed()], code(0))).toEqual({
      ending: { outcome: 'failed', reason: 'stream_cut' },
      evidence: { saidResult: true, message },
    });
  });

  test.for([
    ['The model response was blocked due to safety settings.', 'refused'],
    ['The model response was blocked due to recitation/copyright filters.', 'refused'],
    ['The model response was blocked due to other policy settings.', 'refused'],
    ['Model response was truncated because it exceeded the token limit. Try using /compress.', 'too_long'],
    ['The model returned an empty response with no text or thoughts.', 'executor_error'],
  ] as const)('[P3.2] without an answer, “%s”, is %s', ([message, reason]) => {
    const error = JSON.stringify({ type: 'error', severity: 'error', message });
    expect(end([error, failed()], code(0))).toEqual({
      ending: { outcome: 'failed', reason },
      evidence: { saidResult: true, message },
    });
  });

  test('[P3.5] tells a signal from an exit, and an exit code from a result', () => {
    expect(end([], { code: null, signal: 'SIGSEGV' })).toEqual({
      ending: { outcome: 'failed', reason: 'executor_killed' },
      evidence: { saidResult: false },
    });
    expect(end([answer], code(0)).ending.reason).toBe('executor_exited');
    expect(end([], code(41)).ending.reason).toBe('auth');
    expect(end([], code(42)).ending.reason).toBe('executor_exited');
    expect(end([], code(55)).ending.reason).toBe('executor_exited');
    expect(end([failed('Operation cancelled.')], code(130)).ending.reason).toBe('executor_killed');
    expect(end([failed('no room', 'no_space_left')], code(54)).ending.reason).toBe('disk_full');
  });
});

describe('a line', () => {
  const fold = (line: string): readonly ExecutorEvent[] => parser.line(parser.start(), line).events;
  const called = (name: string, parameters: unknown): readonly ExecutorEvent[] =>
    fold(JSON.stringify({ type: 'tool_use', tool_name: name, tool_id: 'a', parameters }));

  test('[P3.5] that is not known is kept as it came, an empty one is not', () => {
    for (const text of ['garbage', '{"type":"new"}', '{"type":"message"}', '[]', 'null', '{"type":"result"}', '{'])
      expect(fold(text)).toEqual([{ type: 'executor.unparsed', data: { text } }]);
    for (const text of ['', ' ', '\r']) expect(fold(text)).toEqual([]);
  });

  test.for([
    ['run_shell_command', { command: 'ls', dir_path: 'src' }, { kind: 'execute', paths: ['src'] }],
    ['read_file', { file_path: 'a.txt' }, { kind: 'read', paths: ['a.txt'] }],
    ['list_directory', { dir_path: 'src' }, { kind: 'read', paths: ['src'] }],
    ['replace', { file_path: 'a.txt', old_string: 'a' }, { kind: 'edit', paths: ['a.txt'] }],
    ['grep_search', { pattern: 'a' }, { kind: 'search' }],
    ['web_fetch', { prompt: 'a' }, { kind: 'fetch' }],
    ['mcp_harnessd_fs_read', { file_path: 'a.txt' }, {}],
    ['constructor', { file_path: 'a.txt' }, {}],
    ['__proto__', { file_path: 'a.txt' }, {}],
    ['read_file', 'no object', { kind: 'read' }],
    ['read_file', { file_path: 7 }, { kind: 'read' }],
  ] as const)('tells what a call of %s with %j does, where it is known', ([name, input, more]) => {
    expect(called(name, input)).toEqual([{ type: 'tool.called', data: { callId: 'a', name, input, ...more } }]);
  });

  test('of a list of steps tells the plan', () => {
    const todos = ['pending', 'in_progress', 'completed', 'cancelled', 'blocked'].map((status) => ({
      description: `is ${status}`,
      status,
    }));
    expect(called('write_todos', { todos })[1]).toEqual({
      type: 'plan.updated',
      data: {
        entries: [
          { text: 'is pending', status: 'pending' },
          { text: 'is in_progress', status: 'in_progress' },
          { text: 'is completed', status: 'completed' },
          { text: 'is blocked', status: 'pending' },
        ],
      },
    });
    expect(called('write_todos', { todos: 'none' })).toHaveLength(1);
  });

  test('tells a tool’s output of any kind', () => {
    const finished = (fields: object) => fold(JSON.stringify({ type: 'tool_result', tool_id: 'a', ...fields }));
    for (const [fields, outcome, output] of [
      [{ status: 'success', output: 'x' }, 'ok', 'x'],
      [{ status: 'success' }, 'ok', ''], // a difference of files is not printed
      [{ status: 'error', error: { type: 't', message: 'why' } }, 'error', 'why'],
    ] as const)
      expect(finished(fields)).toEqual([{ type: 'tool.finished', data: { callId: 'a', outcome, output } }]);
  });
});
