import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import { commandOf, hasMarker, readProcessTable } from '../process/process-table.ts';
import { eventData, type EventType, type StoredEvent } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { ParamsIn } from '../protocol/methods.ts';
import type { ModelRequest, Scratch } from './doctor-scratch.ts';

/** A turn that has ended, and what the model was asked for it: no other runs at the same time. */
export interface EndedTurn {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
  readonly events: readonly StoredEvent[];
  readonly requests: readonly ModelRequest[];
}

/** What a turn was to do and did not. */
export class TurnFault extends Error {
  override readonly name = 'TurnFault';
  readonly turn: EndedTurn | undefined;

  constructor(message: string, turn?: EndedTurn) {
    super(message);
    this.turn = turn;
  }
}

const timeoutMs = 90_000;
/** For a daemon to end what took too long. */
const slackMs = 30_000;

type Data<T extends EventType> = z.infer<(typeof eventData)[T]>;
type Prompted = ParamsIn<'task.create'> | ParamsIn<'task.prompt'>;

/** Runs a turn, of a new task or a given one, to its end. */
export async function runTurn(scratch: Scratch, params: Prompted, signal: AbortSignal): Promise<EndedTurn> {
  return (await beginTurn(scratch, params, signal)).ended;
}

/** The same for whoever has something to do meanwhile. */
export async function beginTurn(
  { client, requests }: Scratch,
  params: Prompted,
  signal: AbortSignal,
): Promise<{ taskId: TaskId; turnId: TurnId; ended: Promise<EndedTurn> }> {
  const after = (await requests(0)).at(-1)?.n ?? 0;
  const { taskId, turnId } =
    'taskId' in params
      ? await client.call('task.prompt', { ...params, timeoutMs }, signal)
      : await client.call('task.create', { ...params, timeoutMs }, signal);
  const limit = AbortSignal.timeout(timeoutMs + slackMs);
  const follow = async (): Promise<EndedTurn> => {
    const events: StoredEvent[] = [];
    for await (const event of client.events({ taskId, signal: AbortSignal.any([signal, limit]) })) {
      if (event.turnId !== turnId) continue;
      events.push(event);
      if (event.type === 'turn.ended') return { taskId, turnId, events, requests: await requests(after) };
    }
    signal.throwIfAborted();
    throw new TurnFault(`its end was not told within ${(timeoutMs + slackMs) / 1_000} s`);
  };
  const ended = follow();
  ended.catch(() => undefined); // whoever awaits it is told
  return { taskId, turnId, ended };
}

/** The data of the turn's events of a type. */
export function dataOf<T extends EventType>({ events }: EndedTurn, type: T): Data<T>[] {
  const found = events.filter((event) => event.type === type);
  return found.map(({ data }) => eventData[type].parse(data) as Data<T>); // of this type’s own schema
}

export function endOf(turn: EndedTurn): Data<'turn.ended'> {
  return dataOf(turn, 'turn.ended')[0]!; // it has ended
}

export function mustSucceed(turn: EndedTurn): void {
  const { outcome, reason } = endOf(turn);
  if (outcome !== 'succeeded') throw new TurnFault(`its turn ended ${outcome}/${reason}`, turn);
}

/** What the executor asked the model for the turn itself; not what it asks on its own behalf, a title or which model to take. */
export function ownRequests({ requests }: EndedTurn): ModelRequest[] {
  return requests.filter(({ story }) => story !== undefined && story !== 'errand');
}

/** Command lines of what still lives of a turn. */
export async function leftOf(turnId: TurnId): Promise<string[]> {
  const marker = { name: 'HARNESSD_TURN', value: turnId };
  const found: string[] = [];
  for (const { pid } of await readProcessTable())
    if (await hasMarker(pid, marker)) found.push(`${pid} ${(await commandOf(pid)).join(' ')}`.trim());
  return found;
}

/** Waits until it is so, or the turn has ended: then it gives that. */
export async function until(isSo: () => boolean, ended: Promise<EndedTurn>): Promise<EndedTurn | undefined> {
  for (;;) {
    if (isSo()) return undefined;
    const turn = await Promise.race([ended, sleep(20)]);
    if (turn) return turn;
  }
}
