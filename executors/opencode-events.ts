import type { Evidence, ExecutorEvent, Exit, ParsedEnding, Parser, Reason, Step } from '../src/kit/executor.ts';
import { jsonLine } from '../src/kit/json-line.ts';
import { reasonOfStatus } from '../src/kit/provider-status.ts';
import { type ErrorOf, Line, type Used } from './opencode-output.ts';
import { called, finished, hasWorked } from './opencode-tools.ts';

interface State {
  readonly session: string | undefined;
  /** Calls told before they ended. */
  readonly open: readonly string[];
  /** How the last step ended. */
  readonly reason: string | undefined;
  readonly toolError: string | undefined;
  /** A tool has done something since the last step ended. */
  readonly hasActed: boolean;
  /** Steps in a row that broke off without any such. */
  readonly broken: number;
  /** The retry announced last, unless an answer came since. */
  readonly retry: { readonly answered: number | undefined; readonly message: string } | undefined;
  readonly error: ErrorOf | undefined;
}

/** After an answer that ends in good order but unfinished the CLI asks the same again at once, for ever. */
const mostBroken = 3;

const compacted: ExecutorEvent = {
  type: 'warning.raised',
  data: { code: 'conversation_compacted', message: 'the conversation was shortened to fit the model' },
};

/** How a model ends a step without having done what it was asked. */
const reasonsOfStep: ReadonlyMap<string, Reason<'failed'>> = new Map([
  ['length', 'too_long'],
  ['content-filter', 'refused'],
]);

const start = (): State => ({
  session: undefined,
  open: [],
  reason: undefined,
  toolError: undefined,
  hasActed: false,
  broken: 0,
  retry: undefined,
  error: undefined,
});

function fold(before: State, line: Line): Step<State> {
  if (line.type === 'harnessd.retry') return foldRetry(before, line);
  if (line.type === 'harnessd.step') return { state: before, events: usageOf(line.part) };
  if (before.session !== undefined) return foldOwn(before, line);
  const { sessionID } = line;
  const { events, ...step } = foldOwn({ ...before, session: sessionID }, line);
  return { ...step, events: [{ type: 'executor.session', data: { sessionId: sessionID } }, ...events] };
}

function foldRetry(state: State, line: Extract<Line, { type: 'harnessd.retry' }>): Step<State> {
  const { attempt, message, delayMs, answered } = line;
  const status = answered !== undefined && answered >= 400 ? { httpStatus: answered } : {};
  return {
    state: { ...state, retry: { answered, message } },
    events: [{ type: 'retry.announced', data: { attempt, delayMs, message, ...status } }],
  };
}

function foldOwn(state: State, line: Exclude<Line, { type: 'harnessd.retry' | 'harnessd.step' }>): Step<State> {
  switch (line.type) {
    case 'harnessd.session':
    case 'step_start':
      return { state, events: [] };
    case 'harnessd.tool':
      return { state: { ...state, open: [...state.open, line.callID], retry: undefined }, events: [called(line)] };
    case 'text': {
      const { text, messageID: messageId, synthetic = false, metadata } = line.part;
      if (synthetic) return { state, events: metadata?.compaction_continue ? [compacted] : [] };
      return {
        state: { ...state, retry: undefined },
        events: text === '' ? [] : [{ type: 'message.added', data: { text, messageId } }],
      };
    }
    case 'reasoning': {
      const { text, messageID: messageId } = line.part;
      return {
        state: { ...state, retry: undefined },
        events: text === '' ? [] : [{ type: 'thought.added', data: { text, messageId } }],
      };
    }
    case 'tool_use': {
      const { tool, callID, state: now } = line.part;
      const begun = state.open.includes(callID) ? [] : [called({ tool, callID, input: now.input })];
      return {
        state: {
          ...state,
          open: state.open.filter((id) => id !== callID),
          retry: undefined,
          toolError: now.status === 'error' ? now.error : undefined,
          hasActed: state.hasActed || hasWorked(line.part),
        },
        events: [...begun, ...finished(line.part)],
      };
    }
    case 'step_finish': {
      const { reason } = line.part;
      const broken = reason === 'unknown' && !state.hasActed ? state.broken + 1 : 0;
      return {
        state: { ...state, reason, broken, hasActed: false, retry: undefined },
        events: usageOf(line.part),
        ...(broken >= mostBroken && { isStuck: true }),
      };
    }
    case 'error':
      return { state: { ...state, error: line.error }, events: [] };
  }
}

function usageOf({ tokens: { input, output, reasoning, cache }, cost }: Used): ExecutorEvent[] {
  if (input + output + reasoning + cache.read + cache.write === 0) return []; // a step that broke off
  return [
    {
      type: 'usage.reported',
      data: {
        inputTokens: input,
        outputTokens: output + reasoning,
        cacheReadTokens: cache.read,
        cacheWriteTokens: cache.write,
        ...(cost > 0 && { costUsd: cost }),
      },
    },
  ];
}

/** There is no closing line: success is a last step that the model ended, no error, and exit 0. */
function end(state: State, exit: Exit): ParsedEnding {
  const { reason, error, retry } = state;
  const isFinal = reason !== undefined && reason !== 'unknown' && reason !== 'tool-calls';
  if (!error && !retry && reason === 'stop' && exit.code === 0)
    return { ending: { outcome: 'succeeded', reason: 'completed' }, evidence: { saidResult: true } };
  const status = error?.data.statusCode ?? retry?.answered;
  const message = messageOf(state);
  const evidence: Evidence = {
    saidResult: error !== undefined || (isFinal && exit.code === 0),
    ...(status !== undefined && status >= 400 && { httpStatus: status }),
    ...(message && { message }),
  };
  return { ending: { outcome: 'failed', reason: reasonOf(state, exit) }, evidence };
}

function messageOf({ error, retry, broken, reason, toolError }: State): string | undefined {
  if (error) return error.data.message ?? error.name;
  if (retry) return retry.message;
  if (broken > 0) return 'the provider ended its answers before they were finished';
  return reason === 'tool-calls' ? toolError : reason && reason !== 'stop' ? `the model stopped: ${reason}` : undefined;
}

function reasonOf({ error, retry, broken, reason }: State, { code, signal }: Exit): Reason<'failed'> {
  const status = error?.data.statusCode ?? retry?.answered;
  if (error?.name === 'ContextOverflowError') return 'too_long';
  if (status !== undefined && status >= 400) return reasonOfStatus(status);
  if (retry) return status === undefined ? 'provider_unreachable' : 'stream_cut';
  if (error) return reasonOfMessage(error);
  if (broken > 0) return 'stream_cut';
  if (signal !== null || (code !== null && code > 128)) return 'executor_killed';
  if (code !== 0 || reason === undefined) return 'executor_exited';
  return reasonsOfStep.get(reason) ?? 'executor_error';
}

/** Where no status is told: as the CLI words it. */
function reasonOfMessage({ name, data: { message = '' } }: ErrorOf): Reason<'failed'> {
  if (name === 'ProviderAuthError') return 'auth';
  if (/Cannot connect to API|Unable to connect|fetch failed|ECONNREFUSED|ENOTFOUND/i.test(message))
    return 'provider_unreachable';
  return /connection (reset|closed|lost)|terminated|SSE read timed out/i.test(message)
    ? 'stream_cut'
    : 'executor_error';
}

export const parser: Parser<State> = { start, line: jsonLine<State, Line>(Line, fold), end };
