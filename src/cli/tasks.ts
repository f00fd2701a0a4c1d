import type { Result } from '../protocol/methods.ts';
import { openClient } from './connect.ts';
import { exitCodes, print, UsageError, type Context, type GlobalOptions } from './context.ts';
import { duration, table } from './style.ts';

type Task = Result<'task.list'>['tasks'][number];

/** `harnessd tasks` */
export async function tasks(
  context: Context,
  options: GlobalOptions & { limit: string; json?: boolean },
): Promise<number> {
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > 500)
    throw new UsageError(`--limit ${options.limit}: must be from 1 to 500`);
  await using client = await openClient(context, options);
  const { tasks: found, more } = await client.call('task.list', { limit });
  if (options.json) found.forEach((task) => print(context, JSON.stringify(task)));
  else if (found.length === 0) print(context, 'no tasks yet: harnessd run "…"');
  else
    print(context, taskTable(found, { now: Date.now(), columns: context.stdout.columns ?? 0 }) + (more ? '\n…' : ''));
  return exitCodes.success;
}

export function taskTable(found: readonly Task[], { now, columns }: { now: number; columns: number }): string {
  const rows = found.map((task) => {
    const turn = task.turns.at(-1);
    const state = turn?.outcome
      ? `${turn.outcome}${turn.outcome === 'succeeded' ? '' : `/${turn.reason}`}`
      : (turn?.state ?? '-');
    const words = turn?.prompt.replace(/\s+/g, ' ').trim() ?? '-';
    return [task.taskId, state, turn?.executor ?? '-', duration(now - task.createdAt), task.workspace, words];
  });
  return table([['TASK', 'STATE', 'EXECUTOR', 'AGE', 'WORKSPACE', 'PROMPT'], ...rows], columns);
}
