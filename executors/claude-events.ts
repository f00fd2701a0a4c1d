import { z } from 'zod';
import type { Evidence, ExecutorEvent, Exit, ParsedEnding, Parser, Reason, Step } from '../src/kit/executor.ts';
import { jsonLine } from '../src/kit/json-line.ts';
import { reasonOfStatus } from '../src/kit/provider-status.ts';
import {
  type AssistantBlock,
  Line,
  type ModelUsage,
  type Result,
  type StreamEvent,
  type ToolOutput,
} from './claude-output.ts';
import { describeTool, planChange, stepsAfterCall, stepsAfterResult, type Steps } from './claude-tools.ts';

interface State {
  /** The last one counts: a background task makes the CLI give a result, go on, and give another. */
  readonly result: Result | undefined;
  /** The retry announced last, unless an answer came since. */
  readonly retryStatus: number | null | undefined;
  /** The model has begun an answer that no tool result or final result has followed. */
  readonly isAnswering: boolean;
  readonly steps: Steps;
}

export const parser: Parser<State> = { start, line: jsonLine<State, Line>(Line, fold), end };

function start(): State {
  return { result: undefined, retryStatus: undefined, isAnswering: false, steps: new Map() };
}

function fold(state: State, line: Line): Step<State> {
  switch (line.type) {
    case 'system':
      return foldSystem(state, line);
    case 'stream_event':
      return { state, events: streamed(line, state.retryStatus !== undefined) };
    case 'assistant':
      return foldAnswer(state, line);
    case 'user':
      return foldResults(state, line);
    case 'rate_limit_event':
      return { state, events: [] };
    case 'result': {
      const usage = Object.entries(line.model_usage_since_last_result ?? line.modelUsage);
      return { state: { ...state, result: line }, events: usage.map(([model, used]) => usageOf(model, used)) };
    }
  }
}

/** Parts of a text of the turn's own agent, not of one that it has asked. */
function streamed(
  { event, api_message_id: messageId, parent_tool_use_id: parent }: StreamEvent,
  isRetried: boolean,
): ExecutorEvent[] {
  if (parent) return [];
  const of = messageId === undefined ? {} : { messageId };
  if (event.delta) return [{ type: 'message.delta', data: { text: event.delta.text, ...of } }];
  // The provider answers again: whoever counts the time of the retries is to hear of it before the first word.
  return event.type === 'message_start' && isRetried ? [{ type: 'message.delta', data: { text: '', ...of } }] : [];
}

function foldAnswer(state: State, line: Extract<Line, { type: 'assistant' }>): Step<State> {
  const { id, model, content } = line.message;
  if (model === '<synthetic>') return { state, events: content.flatMap(synthetic) };
  const parent = line.parent_tool_use_id ? { parentCallId: line.parent_tool_use_id } : {};
  const from = { ...(id !== undefined && { messageId: id }), ...parent };
  let { steps } = state;
  const events: ExecutorEvent[] = [];
  for (const block of content) {
    events.push(...said(block, from, parent));
    if (block.type !== 'tool_use' || line.parent_tool_use_id) continue;
    const after = stepsAfterCall(steps, block.name, block.input);
    events.push(...planChange(steps, after));
    steps = after;
  }
  return { state: { ...state, retryStatus: undefined, isAnswering: true, steps }, events };
}

function foldResults(state: State, line: Extract<Line, { type: 'user' }>): Step<State> {
  const { content } = line.message;
  const blocks = typeof content === 'string' ? [] : content;
  const events = blocks.flatMap(
    (block): ExecutorEvent[] =>
      block.type === 'tool_result'
        ? [
            {
              type: 'tool.finished',
              data: {
                callId: block.tool_use_id,
                outcome: block.is_error ? 'error' : 'ok',
                ...outputOf(block.content, block.is_error),
              },
            },
          ]
        : [], // text is the CLI's own: an interruption, or a request to go on after a cut
  );
  const steps = line.parent_tool_use_id ? state.steps : stepsAfterResult(state.steps, line.tool_use_result);
  return {
    state: { ...state, steps, isAnswering: state.isAnswering && events.length === 0 },
    events: [...events, ...planChange(state.steps, steps)],
  };
}

function foldSystem(state: State, line: Extract<Line, { type: 'system' }>): Step<State> {
  switch (line.subtype) {
    case 'init': {
      const { session_id: sessionId, model, claude_code_version: version } = line;
      return {
        state,
        events: [
          { type: 'executor.session', data: { sessionId, ...(model && { model }), ...(version && { version }) } },
        ],
      };
    }
    case 'api_retry': {
      const { attempt, max_retries: maxAttempts, retry_delay_ms: delayMs, error_status: status, error } = line;
      return {
        state: { ...state, retryStatus: status ?? null },
        events: [
          {
            type: 'retry.announced',
            data: {
              attempt,
              ...(maxAttempts !== undefined && { maxAttempts }),
              ...(delayMs !== undefined && { delayMs }),
              ...(status && { httpStatus: status }),
              message: error ?? 'unknown',
            },
          },
        ],
      };
    }
    case 'permission_denied':
      return {
        state,
        events: [
          {
            type: 'warning.raised',
            data: { code: 'permission_denied', message: `${line.tool_name}: ${line.message}` },
          },
        ],
      };
    case 'compact_boundary':
      return {
        state,
        events: [
          {
            type: 'warning.raised',
            data: { code: 'conversation_compacted', message: 'the conversation was shortened to fit the model' },
          },
        ],
      };
    default:
      return { state, events: [] };
  }
}

/** A message that the CLI made up in the model's place: it tells of an error. */
function synthetic(block: AssistantBlock): ExecutorEvent[] {
  return block.type === 'text'
    ? [{ type: 'warning.raised', data: { code: 'executor_notice', message: block.text } }]
    : [];
}

function said(
  block: AssistantBlock,
  from: { messageId?: string; parentCallId?: string },
  parent: { parentCallId?: string },
): ExecutorEvent[] {
  switch (block.type) {
    case 'text':
      return [{ type: 'message.added', data: { text: block.text, ...from } }];
    case 'thinking':
      return [{ type: 'thought.added', data: { text: block.thinking, ...from } }];
    case 'redacted_thinking':
      return [];
    case 'tool_use':
      return [
        {
          type: 'tool.called',
          data: {
            callId: block.id,
            name: block.name,
            input: block.input,
            ...describeTool(block.name, block.input),
            ...parent,
          },
        },
      ];
  }
}

/** The Bash tool puts a failed command's exit code on the first line of its output. */
function outputOf(
  content: z.infer<typeof ToolOutput> | undefined,
  isError: boolean | null | undefined,
): { output: string; exitCode?: number } {
  const output = typeof content === 'string' ? content : (content ?? []).map(textOf).join('\n');
  const exitCode = isError ? /^Exit code (\d+)$/m.exec(output.split('\n', 1)[0]!)?.[1] : undefined;
  return { output, ...(exitCode !== undefined && { exitCode: Number(exitCode) }) };
}

const TextBlock = z.object({ type: z.literal('text'), text: z.string() });

function textOf(block: unknown): string {
  const text = TextBlock.safeParse(block);
  return text.success ? text.data.text : JSON.stringify(block);
}

function usageOf(model: string, used: z.infer<typeof ModelUsage>): ExecutorEvent {
  return {
    type: 'usage.reported',
    data: {
      model,
      inputTokens: used.inputTokens,
      outputTokens: used.outputTokens,
      cacheReadTokens: used.cacheReadInputTokens,
      cacheWriteTokens: used.cacheCreationInputTokens,
      ...(used.costUSD !== undefined && { costUsd: used.costUSD }),
    },
  };
}

/** `subtype` is "success" even for errors, and the exit code is 0 after SIGINT: `is_error` and the exit decide together. */
function end(state: State, exit: Exit): ParsedEnding {
  const { result, retryStatus } = state;
  if (result && !result.is_error && exit.code === 0)
    return { ending: { outcome: 'succeeded', reason: 'completed' }, evidence: { saidResult: true } };
  const status = result?.api_error_status ?? retryStatus ?? undefined;
  const message = messageOf(result);
  const evidence: Evidence = {
    saidResult: result !== undefined,
    ...(status !== undefined && { httpStatus: status }),
    ...(message && { message }),
  };
  return {
    ending: {
      outcome: 'failed',
      reason: status === undefined ? reasonWithoutStatus(state, exit) : reasonOfStatus(status),
    },
    evidence,
  };
}

function messageOf(result: Result | undefined): string | undefined {
  return result?.result || result?.errors?.join('; ');
}

function reasonWithoutStatus({ result, retryStatus, isAnswering }: State, { code, signal }: Exit): Reason<'failed'> {
  const isCut = isAnswering || /mid-response|API was lost|JSON Parse|StreamTruncated/.test(messageOf(result) ?? '');
  if (retryStatus === null || result?.terminal_reason === 'api_error')
    return isCut ? 'stream_cut' : 'provider_unreachable';
  const wasKilled = signal !== null || (code !== null && code > 128) || result?.terminal_reason?.startsWith('aborted');
  if (wasKilled) return 'executor_killed';
  return result?.is_error ? 'executor_error' : 'executor_exited';
}
