import { openClient } from './connect.ts';
import { exitCodes, print, type Context, type GlobalOptions } from './context.ts';
import { createPrinter, followTurn, sayLost } from './follow.ts';
import { meaningOf } from './ending-meanings.ts';
import { onInterrupt } from './interrupts.ts';
import { exitCodeOf, taskIdOf } from './run.ts';

/** `harnessd logs`: a task's events from the first on; with `follow` also those to come, until Ctrl-C. */
export async function logs(
  context: Context,
  task: string,
  options: GlobalOptions & { follow?: boolean; json?: boolean },
): Promise<number> {
  const taskId = taskIdOf(task);
  await using client = await openClient(context, options);
  const { latestSeq } = await client.call('task.get', { taskId });
  const ended = new AbortController();
  using _interrupts = onInterrupt(() => ended.abort());
  const show = createPrinter(context, options.json ?? false);
  for await (const event of client.events({ taskId, signal: ended.signal, onLost: sayLost(context) })) {
    show(event);
    if (event.type === 'task.deleted' || (!options.follow && event.seq! >= latestSeq)) return exitCodes.success;
  }
  return exitCodes.interrupted;
}

/** `harnessd attach`: the turn that runs, from its first event to its end. Ctrl-C leaves it running. */
export async function attach(
  context: Context,
  task: string,
  options: GlobalOptions & { json?: boolean },
): Promise<number> {
  const taskId = taskIdOf(task);
  await using client = await openClient(context, options);
  const { turns } = await client.call('task.get', { taskId });
  const turn = turns.find(({ state }) => state !== 'ended') ?? turns.at(-1);
  if (!turn) return exitCodes.success;
  if (turn.outcome && turn.reason) {
    print(
      context,
      `no turn of ${taskId} runs; the last one ended: ${turn.outcome}, ${meaningOf(turn.outcome, turn.reason)}`,
    );
    return exitCodeOf(turn.outcome);
  }
  const left = new AbortController();
  using _interrupts = onInterrupt(() => left.abort());
  const outcome = await followTurn({
    client,
    context,
    taskId,
    turnId: turn.turnId,
    after: 0,
    json: options.json ?? false,
    signal: left.signal,
  });
  if (outcome === undefined) context.stderr.write('harnessd: left; the turn runs on\n');
  return exitCodeOf(outcome);
}
