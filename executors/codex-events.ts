import { z } from 'zod';
import type { Evidence, ExecutorEvent, Exit, ParsedEnding, Parser, Reason, Step } from '../src/kit/executor.ts';
import { jsonLine } from '../src/kit/json-line.ts';
import { reasonOfStatus } from '../src/kit/provider-status.ts';
import { type Call, type Item, Line, type Usage } from './codex-output.ts';

interface State {
  readonly final: { readonly type: 'completed' } | { readonly type: 'failed'; readonly message: string } | undefined;
  /** The fault told last, unless it was overcome since. */
  readonly fault: string | undefined;
  readonly retries: number;
  /** Calls that have begun and not ended: of some it tells only the end. */
  readonly begun: ReadonlySet<string>;
  /** The list of steps told last, as JSON: it is told again at the end. */
  readonly plan: string;
}

export const parser: Parser<State> = { start, line: jsonLine<State, Line>(Line, fold), end };

function start(): State {
  return { final: undefined, fault: undefined, retries: 0, begun: new Set(), plan: '' };
}

function fold(state: State, line: Line): Step<State> {
  switch (line.type) {
    case 'thread.started':
      return { state, events: [{ type: 'executor.session', data: { sessionId: line.thread_id } }] };
    case 'turn.started':
      return { state, events: [] };
    case 'error':
      return foldError(state, line.message);
    case 'turn.completed':
      return { state: { ...state, fault: undefined, final: { type: 'completed' } }, events: [usageOf(line.usage)] };
    case 'turn.failed':
      return { state: { ...state, final: { type: 'failed', message: line.error.message } }, events: [] };
    default:
      return foldItem(state, line.item, line.type === 'item.completed');
  }
}

/** Not final: it tells of a retry, or of what `turn.failed` then says again. */
function foldError(state: State, message: string): Step<State> {
  const retry = /^Reconnecting\.\.\. (?:(\d{1,9})\/(\d{1,9})|.*?) \((.*)\)$/s.exec(message);
  if (!retry) return { state: { ...state, fault: message }, events: [warning(message)] };
  const [, attempt, maxAttempts, fault = ''] = retry;
  const retries = attempt === undefined ? state.retries + 1 : Number(attempt);
  const httpStatus = statusIn(fault);
  return {
    state: { ...state, fault, retries },
    events: [
      {
        type: 'retry.announced',
        data: {
          attempt: retries,
          ...(maxAttempts !== undefined && { maxAttempts: Number(maxAttempts) }),
          ...(httpStatus !== undefined && { httpStatus }),
          message: fault,
        },
      },
    ],
  };
}

function foldItem(before: State, item: Item, isComplete: boolean): Step<State> {
  if (item.type === 'error') return { state: before, events: [warning(item.message)] };
  const state = { ...before, fault: undefined, retries: 0 }; // the model answers
  switch (item.type) {
    case 'agent_message':
      return { state, events: isComplete ? [{ type: 'message.added', data: { text: item.text } }] : [] };
    case 'reasoning':
      return { state, events: isComplete ? [{ type: 'thought.added', data: { text: item.text } }] : [] };
    case 'todo_list': {
      const plan = JSON.stringify(item.items);
      if (plan === state.plan) return { state, events: [] };
      const entries = item.items.map(({ text, completed }) => ({
        text,
        status: completed ? ('completed' as const) : ('pending' as const),
      }));
      return { state: { ...state, plan }, events: [{ type: 'plan.updated', data: { entries } }] };
    }
    default:
      return foldCall(state, item, isComplete);
  }
}

function foldCall(state: State, call: Call, isComplete: boolean): Step<State> {
  const hasBegun = state.begun.has(call.id);
  const begun = new Set(state.begun);
  if (isComplete) begun.delete(call.id);
  else begun.add(call.id);
  return {
    state: { ...state, begun },
    events: [...(hasBegun ? [] : [called(call)]), ...(isComplete ? [finished(call)] : [])],
  };
}

function called(call: Call): ExecutorEvent {
  return { type: 'tool.called', data: { callId: call.id, ...describe(call) } };
}

type Called = Extract<ExecutorEvent, { type: 'tool.called' }>['data'];

function describe(call: Call): Omit<Called, 'callId'> {
  switch (call.type) {
    case 'command_execution':
      return { name: 'shell', input: { command: call.command }, kind: 'execute' };
    case 'file_change': {
      const { changes } = call;
      const kind = changes.length > 0 && changes.every((change) => change.kind === 'delete') ? 'delete' : 'edit';
      return { name: 'apply_patch', input: { changes }, kind, paths: changes.map(({ path }) => path) };
    }
    case 'mcp_tool_call':
      return { name: `mcp__${call.server}__${call.tool}`, input: call.arguments ?? {} };
    case 'collab_tool_call': {
      const { tool, prompt, receiver_thread_ids: agents } = call;
      return { name: tool, input: { ...(prompt && { prompt }), agents }, kind: 'think' };
    }
    case 'web_search':
      return { name: 'web_search', input: { query: call.query, action: call.action }, kind: 'fetch' };
  }
}

function finished(call: Call): ExecutorEvent {
  const isGood = call.type === 'web_search' || call.status === 'completed';
  return {
    type: 'tool.finished',
    data: { callId: call.id, outcome: isGood ? 'ok' : 'error', ...resultOf(call) },
  };
}

function resultOf(call: Call): { output: string; exitCode?: number } {
  switch (call.type) {
    case 'command_execution':
      return {
        output: call.aggregated_output,
        ...(typeof call.exit_code === 'number' && { exitCode: call.exit_code }),
      };
    case 'mcp_tool_call':
      return { output: call.error?.message ?? (call.result?.content ?? []).map(textOf).join('\n') };
    case 'collab_tool_call':
      return {
        output: Object.values(call.agents_states)
          .flatMap(({ message }) => message ?? [])
          .join('\n'),
      };
    case 'file_change':
    case 'web_search':
      return { output: '' };
  }
}

const TextBlock = z.object({ type: z.literal('text'), text: z.string() });

function textOf(block: unknown): string {
  const text = TextBlock.safeParse(block);
  return text.success ? text.data.text : JSON.stringify(block);
}

function warning(message: string): ExecutorEvent {
  return { type: 'warning.raised', data: { code: 'executor_notice', message } };
}

function usageOf({
  input_tokens: input,
  cached_input_tokens: read,
  cache_write_input_tokens: written,
  output_tokens: outputTokens,
}: Usage): ExecutorEvent {
  return {
    type: 'usage.reported',
    data: {
      inputTokens: Math.max(0, input - read - written),
      outputTokens,
      cacheReadTokens: read,
      cacheWriteTokens: written,
    },
  };
}

/** An interrupt makes it exit with 1 and say nothing more. */
function end({ final, fault }: State, exit: Exit): ParsedEnding {
  const saidResult = final !== undefined;
  if (final?.type === 'completed' && exit.code === 0)
    return { ending: { outcome: 'succeeded', reason: 'completed' }, evidence: { saidResult } };
  const message = final?.type === 'failed' ? final.message : fault;
  const httpStatus = message === undefined ? undefined : statusIn(message);
  const evidence: Evidence = {
    saidResult,
    ...(httpStatus !== undefined && { httpStatus }),
    ...(message !== undefined && { message }),
  };
  return {
    ending: { outcome: 'failed', reason: message === undefined ? reasonOfExit(exit) : reasonOf(message) },
    evidence,
  };
}

function reasonOfExit({ code, signal }: Exit): Reason<'failed'> {
  return signal !== null || (code !== null && code > 128) ? 'executor_killed' : 'executor_exited';
}

function statusIn(message: string): number | undefined {
  const status = /^(?:unexpected status|exceeded retry limit, last status:) (\d{3})\b/.exec(message)?.[1];
  return status === undefined ? undefined : Number(status);
}

const disconnected = 'stream disconnected before completion: ';

/** It tells the status of few answers: of others it has words of its own, and of a refused request the provider's alone. */
const words: readonly (readonly [RegExp, Reason<'failed'>])[] = [
  [/^Incomplete response\b.*: content_filter\b/, 'refused'],
  [/\bflagged for possible\b|\bpolicy violation\b/, 'refused'],
  [/^Incomplete response\b.*: max_output_tokens\b/, 'too_long'],
  [/^Codex ran out of room in the model.s context window/, 'too_long'],
  [/^(Connection failed|request timed out|error sending request)/, 'provider_unreachable'],
  [/^(Transport error|stream closed|websocket closed|idle timeout|Failed to parse SSE event)/, 'stream_cut'],
  [/^Error while reading the server response/, 'stream_cut'],
  [/^(rate limit exceeded|You.ve hit your usage limit)/, 'rate_limited'],
  [/^Quota exceeded/, 'billing'],
  [/experiencing high demand|^Selected model is at capacity|^Incomplete response/, 'provider_error'],
  [/^The model\b.* does not exist/, 'model_not_found'],
  [/^(Fatal error|internal error|turn aborted|sandbox error|Missing environment variable)/, 'executor_error'],
];

function reasonOf(message: string): Reason<'failed'> {
  const status = statusIn(message);
  if (status !== undefined) return reasonOfStatus(status);
  const isDisconnected = message.startsWith(disconnected); // or the provider said itself, within its answer, why it broke off
  const told = isDisconnected ? message.slice(disconnected.length) : message;
  return words.find(([pattern]) => pattern.test(told))?.[1] ?? (isDisconnected ? 'provider_error' : 'invalid_request');
}
