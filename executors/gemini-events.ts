import { z } from 'zod';
import type { ExecutorEvent, Parser, Step, ToolKind } from '../src/kit/executor.ts';
import { jsonLine } from '../src/kit/json-line.ts';
import { endOf } from './gemini-ending.ts';
import { Line, Todos, type ModelStats, type Result } from './gemini-output.ts';

interface State {
  /** How many messages the model has begun. */
  readonly messages: number;
  /** What was told of the message that is still written. */
  readonly open: string | undefined;
  readonly error: string | undefined;
  readonly result: Result | undefined;
}

export const parser: Parser<State> = {
  start: () => ({ messages: 0, open: undefined, error: undefined, result: undefined }),
  line: jsonLine<State, Line>(Line, fold),
  end: endOf,
};

/** Parts of a message come until a line of another type: then the whole is told. The parts of one that never ends are told already. */
function fold(state: State, line: Line): Step<State> {
  if (line.type === 'message' && line.role === 'assistant') {
    const messages = state.open === undefined ? state.messages + 1 : state.messages;
    return {
      state: { ...state, messages, open: (state.open ?? '') + line.content },
      events: [{ type: 'message.delta', data: { text: line.content, messageId: String(messages) } }],
    };
  }
  const { events, ...next } = foldOther(state, line);
  if (state.open === undefined) return { ...next, events };
  const said = { type: 'message.added', data: { text: state.open, messageId: String(state.messages) } } as const;
  return { state: { ...next.state, open: undefined }, events: [said, ...events] };
}

function foldOther(state: State, line: Line): Step<State> {
  switch (line.type) {
    case 'init': {
      const { session_id: sessionId, model } = line;
      return { state, events: [{ type: 'executor.session', data: { sessionId, ...(model && { model }) } }] };
    }
    case 'message':
      return { state, events: [] }; // the prompt
    case 'tool_use':
      return { state, events: calls(line) };
    case 'tool_result': {
      const output = line.output ?? line.error?.message ?? '';
      const outcome = line.status === 'success' ? 'ok' : 'error';
      return { state, events: [{ type: 'tool.finished', data: { callId: line.tool_id, outcome, output } }] };
    }
    case 'error': {
      const code = line.severity === 'error' ? 'executor_error' : 'executor_notice';
      return {
        state: { ...state, error: line.message },
        events: [{ type: 'warning.raised', data: { code, message: line.message } }],
      };
    }
    case 'result': {
      const models = Object.entries(line.stats?.models ?? {});
      const used = models.flatMap(([model, stats]) => (stats.total_tokens > 0 ? [usageOf(model, stats)] : []));
      return { state: { ...state, result: line }, events: state.result ? [] : used };
    }
  }
}

/** A map, for the names are the model's: any object has a `constructor`. */
const kinds: ReadonlyMap<string, ToolKind> = new Map([
  ['run_shell_command', 'execute'],
  ['read_file', 'read'],
  ['read_many_files', 'read'],
  ['list_directory', 'read'],
  ['write_file', 'edit'],
  ['replace', 'edit'],
  ['glob', 'search'],
  ['grep_search', 'search'],
  ['google_web_search', 'search'],
  ['web_fetch', 'fetch'],
  ['write_todos', 'think'],
]);
const Path = z.string().min(1);

function calls({
  tool_id: callId,
  tool_name: name,
  parameters: input,
}: Extract<Line, { type: 'tool_use' }>): ExecutorEvent[] {
  const kind = kinds.get(name);
  const { file_path: file, dir_path: folder } = z
    .object({ file_path: Path.optional().catch(undefined), dir_path: Path.optional().catch(undefined) })
    .catch({})
    .parse(input);
  const path = kind === undefined ? undefined : (file ?? folder);
  const called: ExecutorEvent = {
    type: 'tool.called',
    data: { callId, name, input, ...(kind && { kind }), ...(path !== undefined && { paths: [path] }) },
  };
  const todos = name === 'write_todos' ? Todos.safeParse(input).data?.todos : undefined;
  return todos === undefined ? [called] : [called, { type: 'plan.updated', data: { entries: todos.flatMap(entryOf) } }];
}

function entryOf({ description: text, status }: z.infer<typeof Todos>['todos'][number]) {
  if (status === 'cancelled') return [];
  return [{ text, status: status === 'blocked' ? ('pending' as const) : status }];
}

/** Each process counts from nothing, resumed or not. */
function usageOf(model: string, stats: ModelStats): ExecutorEvent {
  return {
    type: 'usage.reported',
    data: {
      model,
      inputTokens: stats.input,
      outputTokens: Math.max(0, stats.total_tokens - stats.input_tokens), // with the thoughts
      cacheReadTokens: stats.cached,
      cacheWriteTokens: 0,
    },
  };
}
