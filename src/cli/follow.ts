import type { Client } from '../client/client.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { Outcome, StoredEvent } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import { print, type Context } from './context.ts';
import { createProgress } from './progress.ts';
import { paintFor } from './style.ts';

/** Prints events: for a person, or one JSON object a line. */
export function createPrinter(context: Context, json: boolean): (event: StoredEvent) => void {
  if (json) return (event) => print(context, JSON.stringify(event));
  const progress = createProgress(paintFor(context));
  return (event) => {
    const text = progress(event);
    if (text !== '') print(context, text);
  };
}

export interface FollowOptions {
  readonly client: Client;
  readonly context: Context;
  readonly taskId: TaskId;
  readonly turnId: TurnId;
  /** `seq` after which the turn's events come. */
  readonly after: number;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

/** Prints a turn's events until it has ended, and says how; undefined when the signal came first. */
export async function followTurn({
  client,
  context,
  taskId,
  turnId,
  after,
  json,
  signal,
}: FollowOptions): Promise<Outcome | undefined> {
  const show = createPrinter(context, json);
  for await (const event of client.events({ taskId, after, signal, onLost: sayLost(context) })) {
    if (event.type === 'task.deleted') throw new DaemonError('task_not_found', `task ${taskId} was deleted`);
    if (event.turnId !== turnId && event.type !== 'task.created') continue;
    show(event);
    if (event.type === 'turn.ended') return event.data['outcome'] as Outcome; // by its schema
  }
  return undefined;
}

/** Says once that the connection was lost; each event is shown once all the same. */
export function sayLost({ stderr }: Context): (error: Error) => void {
  let said = false;
  return (error) => {
    if (!said) stderr.write(`harnessd: ${error.message}; trying to come back\n`);
    said = true;
  };
}
