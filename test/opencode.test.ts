import { describe, expect, test } from 'vitest';
import { parser } from '../executors/opencode-events.ts';
import { Mask } from '../src/base/mask.ts';
import type { Exit, ExecutorEvent } from '../src/kit/executor.ts';
import { Parse } from '../src/task/parse.ts';
import { exits, story, transcript } from './transcripts/opencode.ts';

const code = (code: number): Exit => ({ code, signal: null });
const killed: Exit = { code: null, signal: 'SIGTERM' };

const sessionID = 'ses_1';
const line = (type: string, more: object = {}): string => JSON.stringify({ type, timestamp: 1, sessionID, ...more });
const text = (text: string): string => line('text', { part: { text, messageID: 'm' } });
const tool = (state: object, tool = 'bash', callID = 'a'): string =>
  line('tool_use', { part: { tool, callID, state } });
const ran = (output = '', exit = 0): string =>
  tool({ status: 'completed', input: { command: 'x' }, output, metadata: { exit } });
const finish = (reason: string, tokens: object = {}, cost = 0): string =>
  line('step_finish', {
    part: { reason, cost, tokens: { input: 0, output: 0, reasoning: 0, cache: { read: 0, write: 0 }, ...tokens } },
  });
const error = (name: string, data: object = {}): string => line('error', { error: { name, data } });
const retry = (answered?: number, message = 'no'): string =>
  line('harnessd.retry', { attempt: 1, message, delayMs: 2000, answered });

function fold(...lines: readonly string[]): { parse: Parse; events: ExecutorEvent[] } {
  const parse = new Parse(parser, { mask: new Mask([]) });
  return { parse, events: lines.flatMap((text) => parse.line({ text, end: 0 })) };
}
const told = (...lines: readonly string[]): ExecutorEvent[] => fold(line('step_start'), ...lines).events.slice(1);
const end = (lines: readonly string[], exit: Exit) => fold(...lines).parse.end(exit);

describe('what was used', () => {
  test.for(Object.keys(exits))('is told once for each step, those of sub-agents too: %s', (name) => {
    const steps = transcript(name)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; part: { tokens: { input: number; output: number } } })
      .flatMap(({ type, part }) =>
        ['step_finish', 'harnessd.step'].includes(type) && part.tokens.input > 0 ? [part.tokens] : [],
      );
    const usage = story(name).events.flatMap(({ type, data }) => (type === 'usage.reported' ? [data] : []));
    expect(usage.map(({ inputTokens, outputTokens }) => [inputTokens, outputTokens])).toEqual(
      steps.map(({ input, output }) => [input, output]),
    );
  });

  test('counts reasoning as output, and tells a cost where there is one', () => {
    const cache = { read: 7, write: 8 };
    expect(told(finish('stop', { input: 1, output: 2, reasoning: 3, cache }, 0.5))).toEqual([
      {
        type: 'usage.reported',
        data: { inputTokens: 1, outputTokens: 5, cacheReadTokens: 7, cacheWriteTokens: 8, costUsd: 0.5 },
      },
    ]);
    expect(told(finish('stop'))).toEqual([]);
  });
});

describe('the ending', () => {
  test('[P3.1] is success only when the model ended the last step, without an error, and exit 0', () => {
    expect(end([text('x'), finish('stop')], code(0))).toEqual({
      ending: { outcome: 'succeeded', reason: 'completed' },
      evidence: { saidResult: true },
    });
    const others: [string[], Exit][] = [
      [[], code(0)],
      [[text('x')], code(0)],
      [[finish('tool-calls')], code(0)],
      [[finish('length')], code(0)],
      [[finish('stop'), finish('tool-calls')], code(0)],
      [[error('UnknownError'), finish('stop')], code(0)],
      [[finish('stop')], code(1)],
      [[finish('stop')], killed],
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
    [529, 'provider_error'],
  ] as const)('[P3.2] of a turn that met status %i is %s, told last or ended while it retried', ([status, reason]) => {
    const ending = { outcome: 'failed', reason };
    const evidence = { httpStatus: status, message: 'no' };
    expect(end([error('APIError', { statusCode: status, message: 'no' })], code(1))).toEqual({
      ending,
      evidence: { ...evidence, saidResult: true },
    });
    expect(end([retry(status)], killed)).toEqual({ ending, evidence: { ...evidence, saidResult: false } });
  });

  test.for([
    [[retry(undefined)], killed, 'provider_unreachable'],
    [[retry(200)], killed, 'stream_cut'],
    [[error('APIError', { message: 'Cannot connect to API: refused' })], code(1), 'provider_unreachable'],
    [[error('APIError', { message: 'Connection reset by server' })], code(1), 'stream_cut'],
    [[error('ProviderAuthError', { message: 'x' })], code(1), 'auth'],
    [[error('ContextOverflowError', { message: 'x' })], code(1), 'too_long'],
    [[error('ContextOverflowError', { message: 'x', statusCode: 400 })], code(1), 'too_long'],
    [[error('UnknownError', { message: 'x' })], code(1), 'executor_error'],
    [[retry(500), text('x')], killed, 'executor_killed'],
    [[], killed, 'executor_killed'],
    [[], code(143), 'executor_killed'],
    [[], code(1), 'executor_exited'],
    [[finish('unknown')], killed, 'stream_cut'],
    [[finish('length')], code(0), 'too_long'],
    [[finish('content-filter')], code(0), 'refused'],
    [[finish('error')], code(0), 'executor_error'],
  ] as const)('[P3.2] [P3.5] %#: %j', ([lines, exit, reason]) => {
    expect(end(lines, exit).ending).toEqual({ outcome: 'failed', reason });
  });
});

describe('answers that end unfinished', () => {
  const isStuck = (...lines: readonly string[]): boolean => fold(...lines).parse.isStuck;

  test('[P3.2] are too many when nothing comes of them', () => {
    expect(isStuck(finish('unknown'), text('x'), finish('unknown'))).toBe(false);
    expect(isStuck(finish('unknown'), text('x'), finish('unknown'), finish('unknown'))).toBe(true);
    expect(fold(...transcript('early-end').trimEnd().split('\n')).parse.isStuck).toBe(true);
  });

  test('are no matter while tools do what they ask for', () => {
    const step = [ran(), finish('unknown')];
    expect(isStuck(...step, ...step, ...step, ...step)).toBe(false);
    expect(isStuck(finish('unknown'), finish('unknown'), finish('tool-calls'), finish('unknown'))).toBe(false);
  });
});

describe('a line', () => {
  test('[P3.5] that is not known is kept as it came, an empty one is not', () => {
    for (const text of ['garbage', '{"type":"new"}', '{"type":"text"}', '[]', 'null', '{'])
      expect(fold(text).events).toEqual([{ type: 'executor.unparsed', data: { text } }]);
    for (const text of ['', ' ', '\r']) expect(fold(text).events).toEqual([]);
  });

  test('[P3.5] whose numbers make no sense is kept as it came', () => {
    for (const absurd of [-1, 0.5, Number.MAX_SAFE_INTEGER]) {
      const lines = [
        finish('stop', { input: absurd }),
        finish('stop', { cache: { read: 0, write: absurd } }),
        line('harnessd.retry', { attempt: absurd, message: 'no', delayMs: 0 }),
      ];
      for (const text of lines) expect(fold(text).events).toEqual([{ type: 'executor.unparsed', data: { text } }]);
    }
    const early = line('harnessd.retry', { attempt: 1, message: 'no', delayMs: -1 });
    expect(fold(early).events).toEqual([{ type: 'executor.unparsed', data: { text: early } }]);
  });

  test('names the session once, by whichever comes first', () => {
    const session = { type: 'executor.session', data: { sessionId: sessionID } };
    for (const first of [line('harnessd.session'), line('step_start'), error('UnknownError')])
      expect(fold(first, line('step_start'), line('step_start')).events).toEqual([session]);
  });

  test('tells a call that lasts while it runs, and does not tell it again', () => {
    const begun = line('harnessd.tool', { tool: 'bash', callID: 'a', input: { command: 'x' } });
    const { parse, events } = fold(line('step_start'), begun);
    expect(parse.hasOpenCall).toBe(true);
    expect(events.slice(1)).toEqual([
      { type: 'tool.called', data: { callId: 'a', name: 'bash', input: { command: 'x' }, kind: 'execute' } },
    ]);
    expect(parse.line({ text: ran('out', 3), end: 0 })).toEqual([
      { type: 'tool.finished', data: { callId: 'a', outcome: 'error', output: 'out', exitCode: 3 } },
    ]);
    expect(parse.hasOpenCall).toBe(false);
  });

  test('tells what a tool is, the files it names, and the plan', () => {
    const calledWith = (name: string, input: object): unknown =>
      told(tool({ status: 'completed', input, output: '' }, name)).map(({ data }) => data)[0];
    expect(calledWith('edit', { filePath: '/a' })).toMatchObject({ kind: 'edit', paths: ['/a'] });
    expect(calledWith('grep', { path: 'src', pattern: 'x' })).toMatchObject({ kind: 'search', paths: ['src'] });
    for (const name of ['constructor', 'toString', '__proto__'])
      expect(calledWith(name, { path: 'a' })).toEqual({ callId: 'a', name, input: { path: 'a' } });
    const patchText = '*** Begin Patch\n*** Update File: a b\n*** Move to: c\n*** Add File: d\n+x\n*** End Patch';
    expect(calledWith('apply_patch', { patchText })).toMatchObject({ kind: 'edit', paths: ['a b', 'c', 'd'] });
    expect(calledWith('harnessd_fs_read', { path: 'a' })).toEqual({
      callId: 'a',
      name: 'harnessd_fs_read',
      input: { path: 'a' },
    });
    const todos = ['completed', 'in_progress', 'pending', 'cancelled'].map((status) => ({ content: status, status }));
    expect(told(tool({ status: 'completed', input: { todos }, output: '' }, 'todowrite')).at(-1)).toEqual({
      type: 'plan.updated',
      data: { entries: todos.slice(0, 3).map(({ content, status }) => ({ text: content, status })) },
    });
  });

  test('is not taken for the model’s when the CLI wrote it itself, and tells of a shortened conversation', () => {
    const synthetic = (metadata: object): string =>
      line('text', { part: { text: 'Go on.', messageID: 'm', synthetic: true, metadata } });
    expect(told(synthetic({}), synthetic({ compaction_continue: true }))).toEqual([
      {
        type: 'warning.raised',
        data: { code: 'conversation_compacted', message: 'the conversation was shortened to fit the model' },
      },
    ]);
  });

  test('tells thoughts, and retries with what the provider answered', () => {
    expect(told(line('reasoning', { part: { text: 'hm', messageID: 'm' } }), retry(429), retry(200))).toEqual([
      { type: 'thought.added', data: { text: 'hm', messageId: 'm' } },
      { type: 'retry.announced', data: { attempt: 1, delayMs: 2000, message: 'no', httpStatus: 429 } },
      { type: 'retry.announced', data: { attempt: 1, delayMs: 2000, message: 'no' } },
    ]);
  });
});
