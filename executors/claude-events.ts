import { z } from 'zod';
import type { ExecutorEvent, Parser, Step } from '../src/kit/executor.ts';
import { jsonLine } from '../src/kit/json-line.ts';
import { endOf, type Told } from './claude-ending.ts';
import {
  type AssistantBlock,
  Line,
  type ModelUsage,
  type Retry,
  type StreamEvent,
  type ToolOutput,
  type UserBlock,
} from './claude-output.ts';
import { describeTool, planChange, stepsAfterCall, stepsAfterResult, type Steps } from './claude-tools.ts';

interface State extends Told {
  readonly steps: Steps;
}

export const parser: Parser<State> = { start, line: jsonLine<State, Line>(Line, fold), end: endOf };

function start(): State {
  return { result: undefined, fault: undefined, retryStatus: undefined, isAnswering: false, steps: new Map() };
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
    case 'tool_progress':
      return line.subagent_retry ? foldRetry(state, line.subagent_retry) : { state, events: [] };
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
  if (model === '<synthetic>') {
    const fault = line.parent_tool_use_id ? state.fault : line.error;
    return { state: { ...state, fault }, events: content.flatMap(synthetic) };
  }
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
  return { state: { ...state, fault: undefined, retryStatus: undefined, isAnswering: true, steps }, events };
}

function foldResults(state: State, line: Extract<Line, { type: 'user' }>): Step<State> {
  const { content } = line.message;
  const blocks = typeof content === 'string' ? [] : content;
  const events = blocks.flatMap(resultOf);
  const steps = line.parent_tool_use_id ? state.steps : stepsAfterResult(state.steps, line.tool_use_result);
  return {
    state: { ...state, steps, isAnswering: state.isAnswering && !events.some(({ type }) => type === 'tool.finished') },
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
    case 'api_retry':
      return foldRetry(state, line);
    case 'permission_denied':
      return { state, events: [warning('permission_denied', `${line.tool_name}: ${line.message}`)] };
    case 'compact_boundary':
      return { state, events: [warning('conversation_compacted', 'the conversation was shortened to fit the model')] };
    case 'informational':
      return { state, events: line.content ? [warning('executor_notice', line.content)] : [] };
    default:
      return { state, events: [] };
  }
}

function foldRetry(state: State, retry: Retry): Step<State> {
  const { attempt, max_retries: maxAttempts, retry_delay_ms: delayMs, error_status: status } = retry;
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
          message: retry.error ?? retry.error_category ?? 'unknown',
        },
      },
    ],
  };
}

function warning(code: string, message: string): ExecutorEvent {
  return { type: 'warning.raised', data: { code, message } };
}

/** A message that the CLI made up in the model's place: it tells of an error. */
function synthetic(block: AssistantBlock): ExecutorEvent[] {
  return block.type === 'text' ? [warning('executor_notice', block.text)] : [];
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

function resultOf(block: UserBlock): ExecutorEvent[] {
  switch (block.type) {
    case 'tool_result': {
      const outcome = block.is_error ? 'error' : 'ok';
      const output = outputOf(block.content, block.is_error);
      return [{ type: 'tool.finished', data: { callId: block.tool_use_id, outcome, ...output } }];
    }
    case 'unknown':
      return [{ type: 'executor.unparsed', data: { text: JSON.stringify(block.told) } }];
    default:
      return []; // the CLI's own: an interruption, or a request to go on after a cut
  }
}

/** The Bash tool puts a failed command's exit code on the first line of its output. */
function outputOf(
  content: z.infer<typeof ToolOutput>,
  isError: boolean | null | undefined,
): { output: string; exitCode?: number } {
  const output = typeof content === 'string' ? content : (content ?? []).map(textOf).join('\n');
  const exitCode = isError ? /^Exit code (\d{1,3})$/m.exec(output.split('\n', 1)[0]!)?.[1] : undefined;
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
