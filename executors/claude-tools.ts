import { z } from 'zod';
import type { ExecutorEvent, ToolKind } from '../src/kit/executor.ts';

type Called = Extract<ExecutorEvent, { type: 'tool.called' }>['data'];
type Entry = Extract<ExecutorEvent, { type: 'plan.updated' }>['data']['entries'][number];

/** A map, for the model chooses the name: an object has more keys than are seen. */
const kinds: ReadonlyMap<string, ToolKind> = new Map([
  ['Read', 'read'],
  ['NotebookRead', 'read'],
  ['Write', 'edit'],
  ['Edit', 'edit'],
  ['MultiEdit', 'edit'],
  ['NotebookEdit', 'edit'],
  ['Glob', 'search'],
  ['Grep', 'search'],
  ['LS', 'search'],
  ['Bash', 'execute'],
  ['BashOutput', 'execute'],
  ['KillShell', 'execute'],
  ['Monitor', 'execute'],
  ['WebFetch', 'fetch'],
  ['WebSearch', 'fetch'],
  ['Agent', 'think'],
  ['Task', 'think'],
  ['TodoWrite', 'think'],
  ['TaskCreate', 'think'],
  ['TaskUpdate', 'think'],
  ['TaskList', 'think'],
  ['TaskGet', 'think'],
  ['ExitPlanMode', 'think'],
  ['Skill', 'other'],
]);

const Paths = z.object({
  file_path: z.string().optional(),
  notebook_path: z.string().optional(),
  path: z.string().optional(),
});

/** What is known of one of its own tools; those of MCP servers are nobody's but theirs. */
export function describeTool(name: string, input: unknown): Pick<Called, 'kind' | 'paths'> {
  const kind = kinds.get(name);
  if (kind === undefined) return {};
  const paths = Object.values(Paths.catch({}).parse(input)).filter((path) => path !== undefined);
  return { kind, ...(paths.length > 0 && { paths }) };
}

/** The steps that the model keeps for itself, by their number. */
export type Steps = ReadonlyMap<string, Entry>;

const status = z.enum(['pending', 'in_progress', 'completed']);
const TodoWrite = z.object({ todos: z.array(z.object({ content: z.string(), status })) });
const TaskUpdate = z.object({
  taskId: z.string(),
  subject: z.string().optional(),
  status: z.enum([...status.options, 'deleted']).optional(),
});
const Task = z.object({ id: z.string(), subject: z.string(), status: status.default('pending') });
const TaskResult = z.union([
  z.object({ task: Task }).transform(({ task }) => ({ tasks: [task], isAll: false })),
  z.object({ tasks: z.array(Task) }).transform(({ tasks }) => ({ tasks, isAll: true })),
]);

/** A call that changes the steps. Of steps that an earlier turn made nothing is known until they are listed. */
export function stepsAfterCall(steps: Steps, name: string, input: unknown): Steps {
  if (name === 'TodoWrite') {
    const list = TodoWrite.safeParse(input).data?.todos;
    return list ? new Map(list.map(({ content, status }, at) => [String(at), { text: content, status }])) : steps;
  }
  const update = name === 'TaskUpdate' ? TaskUpdate.safeParse(input).data : undefined;
  const step = steps.get(update?.taskId ?? '');
  if (!update || !step) return steps;
  const { taskId, subject: text = step.text, status = step.status } = update;
  const changed = new Map(steps);
  if (status === 'deleted') changed.delete(taskId);
  else changed.set(taskId, { text, status });
  return changed;
}

/** The number of a new step is told by its result. */
export function stepsAfterResult(steps: Steps, result: unknown): Steps {
  const told = TaskResult.safeParse(result).data;
  if (!told) return steps;
  const entries = told.tasks.map(({ id, subject: text, status }) => [id, { text, status }] as const);
  return new Map([...(told.isAll ? [] : steps), ...entries]);
}

export function planChange(before: Steps, after: Steps): ExecutorEvent[] {
  const entries = [...after.values()];
  const isSame = JSON.stringify([...before.values()]) === JSON.stringify(entries);
  return isSame ? [] : [{ type: 'plan.updated', data: { entries } }];
}
