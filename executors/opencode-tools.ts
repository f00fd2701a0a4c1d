import { z } from 'zod';
import type { ExecutorEvent, ToolKind } from '../src/kit/executor.ts';
import type { ToolPart } from './opencode-output.ts';

/** OpenCode's own tools; those of MCP servers have their server's name before theirs. A map, for the names are the model's. */
const kinds: ReadonlyMap<string, ToolKind> = new Map([
  ['bash', 'execute'],
  ['read', 'read'],
  ['list', 'read'],
  ['write', 'edit'],
  ['edit', 'edit'],
  ['multiedit', 'edit'],
  ['patch', 'edit'],
  ['apply_patch', 'edit'],
  ['glob', 'search'],
  ['grep', 'search'],
  ['codesearch', 'search'],
  ['webfetch', 'fetch'],
  ['websearch', 'fetch'],
  ['task', 'think'],
  ['todowrite', 'think'],
  ['todoread', 'think'],
]);

/** What the CLI makes of a call of a tool that is not there, or with an input that is not right. */
const refused = 'invalid';

export interface Call {
  readonly tool: string;
  readonly callID: string;
  readonly input: Readonly<Record<string, unknown>>;
}

export function called({ tool, callID, input }: Call): ExecutorEvent {
  const kind = kinds.get(tool);
  const paths = kind === undefined ? [] : pathsOf(input);
  return {
    type: 'tool.called',
    data: { callId: callID, name: tool, input, ...(kind && { kind }), ...(paths.length > 0 && { paths }) },
  };
}

export function hasWorked({ tool, state }: ToolPart): boolean {
  return state.status === 'completed' && tool !== refused;
}

export function finished(part: ToolPart): ExecutorEvent[] {
  const { tool, callID, state } = part;
  if (state.status === 'error')
    return [{ type: 'tool.finished', data: { callId: callID, outcome: 'error', output: state.error } }];
  const exitCode = state.metadata?.exit ?? undefined;
  return [
    {
      type: 'tool.finished',
      data: {
        callId: callID,
        outcome: hasWorked(part) && (exitCode ?? 0) === 0 ? 'ok' : 'error',
        output: state.output,
        ...(exitCode !== undefined && { exitCode }),
      },
    },
    ...(tool === 'todowrite' ? planOf(state.input) : []),
  ];
}

const Todos = z.object({
  todos: z.array(
    z.object({ content: z.string(), status: z.enum(['pending', 'in_progress', 'completed', 'cancelled']) }),
  ),
});

function planOf(input: unknown): ExecutorEvent[] {
  const parsed = Todos.safeParse(input);
  if (!parsed.success) return [];
  const entries = parsed.data.todos.flatMap(({ content: text, status }) =>
    status === 'cancelled' ? [] : [{ text, status }],
  );
  return [{ type: 'plan.updated', data: { entries } }];
}

function pathsOf({ filePath, path, patchText }: Call['input']): string[] {
  if (typeof patchText === 'string')
    return [...patchText.matchAll(/^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$/gm)].map(([, name]) => name!);
  const named = filePath ?? path;
  return typeof named === 'string' ? [named] : [];
}
