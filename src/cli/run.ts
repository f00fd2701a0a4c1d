import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Client } from '../client/client.ts';
import type { Outcome } from '../protocol/events.ts';
import { TaskId, type TurnId } from '../protocol/ids.ts';
import type { ParamsIn } from '../protocol/methods.ts';
import { openClient } from './connect.ts';
import { exitCodes, UsageError, type Context, type GlobalOptions } from './context.ts';
import { followTurn } from './follow.ts';
import { onInterrupt } from './interrupts.ts';

export interface RunOptions extends GlobalOptions {
  readonly executor?: string;
  readonly model?: string;
  readonly workspace?: string;
  readonly timeout?: string;
  readonly task?: string;
  readonly json?: boolean;
}

/** `harnessd run`: records a turn and follows it to its end. */
export async function run(context: Context, prompt: string | undefined, options: RunOptions): Promise<number> {
  const asked = { ...paramsOf(options), prompt: await readPrompt(context, prompt) };
  await using client = await openClient(context, options);
  const turn =
    options.task === undefined ? await createTask(client, asked, options) : await addTurn(client, asked, options);
  if (!options.json) context.stderr.write(`task ${turn.taskId}\n`);
  return await watch({ client, context, turn, json: options.json ?? false });
}

interface Turn {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
  readonly after: number;
}

type Asked = Pick<ParamsIn<'task.create'>, 'prompt' | 'executor' | 'model' | 'timeoutMs'>;

async function createTask(client: Client, asked: Asked, { workspace }: RunOptions): Promise<Turn> {
  return {
    ...(await client.call('task.create', { ...asked, ...(workspace && { workspace: resolve(workspace) }) })),
    after: 0,
  };
}

async function addTurn(client: Client, asked: Asked, { task, workspace }: RunOptions): Promise<Turn> {
  if (workspace !== undefined) throw new UsageError('--workspace cannot go with --task: a task keeps its workspace');
  const taskId = taskIdOf(task ?? '');
  const { latestSeq } = await client.call('task.get', { taskId });
  return { ...(await client.call('task.prompt', { taskId, ...asked })), after: latestSeq };
}

interface Watched {
  readonly client: Client;
  readonly context: Context;
  readonly turn: Turn;
  readonly json: boolean;
}

/** The first Ctrl-C cancels the turn and waits for its end, the second leaves it to the daemon. */
async function watch({ client, context, turn, json }: Watched): Promise<number> {
  const left = new AbortController();
  using _interrupts = onInterrupt((count) => {
    if (count > 1) return left.abort();
    context.stderr.write('harnessd: cancelling the turn; press Ctrl-C again to leave it to the daemon\n');
    client.call('task.cancel', { taskId: turn.taskId }).catch((error: unknown) => {
      context.stderr.write(`harnessd: could not cancel: ${error instanceof Error ? error.message : String(error)}\n`);
    });
  });
  const outcome = await followTurn({ client, context, ...turn, json, signal: left.signal });
  if (outcome === undefined) context.stderr.write(`harnessd: left; follow it with "harnessd attach ${turn.taskId}"\n`);
  return exitCodeOf(outcome);
}

export function exitCodeOf(outcome: Outcome | undefined): number {
  if (outcome === undefined) return exitCodes.interrupted;
  return outcome === 'succeeded' ? exitCodes.success : exitCodes.failure;
}

export function paramsOf({
  executor,
  model,
  timeout,
}: Pick<RunOptions, 'executor' | 'model' | 'timeout'>): Omit<Asked, 'prompt'> {
  return {
    ...(executor !== undefined && { executor }),
    ...(model !== undefined && { model }),
    ...(timeout !== undefined && { timeoutMs: parseDuration(timeout) }),
  };
}

export function taskIdOf(text: string): TaskId {
  const parsed = TaskId.safeParse(text);
  if (!parsed.success) throw new UsageError(`${JSON.stringify(text)} is not the id of a task`);
  return parsed.data;
}

async function readPrompt({ stdin }: Context, argument: string | undefined): Promise<string> {
  const fromStdin = argument === '-' || (argument === undefined && !stdin.isTTY);
  const prompt = fromStdin ? await text(stdin) : argument;
  if (prompt === undefined || prompt.trim() === '')
    throw new UsageError('a prompt is missing: give it as an argument, or on standard input with "-"');
  return prompt;
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** `90s`, `10m`, `2h`; a bare number is in seconds. */
export function parseDuration(written: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(written);
  if (!match) throw new UsageError(`--timeout ${written}: not a duration such as 90s, 10m or 2h`);
  return Math.round(Number(match[1]) * (units[match[2] ?? 's'] ?? 1));
}
