import { setTimeout as sleep } from 'node:timers/promises';
import { DaemonError, errorKinds } from '../protocol/errors.ts';
import type { StoredEvent } from '../protocol/events.ts';
import type { TaskId } from '../protocol/ids.ts';
import { notifications } from '../protocol/methods.ts';
import { Connection, type Address } from './connection.ts';

export interface EventsOptions {
  /** Without it: the events of all tasks, by `id`. */
  readonly taskId?: TaskId;
  /** The last position (`seq` of the task, or `id`) that the caller has. */
  readonly after?: number;
  readonly signal: AbortSignal;
  /** Told before each attempt to come back. */
  readonly onLost?: (error: Error) => void;
}

const firstDelayMs = 50;
const maxDelayMs = 2_000;
/** Events that wait for a slow consumer before the socket is paused. */
const maxWaiting = 1_000;

/** Each event once and in order, over as many connections as that takes. Ends with the signal; throws what coming back cannot mend. */
export async function* readEvents(
  address: Address,
  { taskId, after = 0, signal, onLost }: EventsOptions,
): AsyncGenerator<StoredEvent, void> {
  const positionOf = (event: StoredEvent): number => (taskId === undefined ? event.id : event.seq!); // a task's events have one
  let cursor = after;
  for (let delayMs = firstDelayMs; !signal.aborted; delayMs = Math.min(2 * delayMs, maxDelayMs)) {
    try {
      await using connection = await Connection.open(address, signal);
      for await (const event of subscribe(connection, { taskId, after: cursor, signal })) {
        if (positionOf(event) <= cursor) continue;
        if (positionOf(event) > cursor + 1) throw new Lost('an event is missing');
        cursor = positionOf(event);
        delayMs = firstDelayMs;
        yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!mayRetry(error)) throw error;
      onLost?.(error);
    }
    await sleep(delayMs, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
  }
}

/** The subscription is gone, and a new one may do better. */
class Lost extends Error {
  override readonly name = 'Lost';
}

function mayRetry(error: unknown): error is Error {
  if (error instanceof Lost) return true;
  return error instanceof DaemonError && errorKinds[error.code].retry && error.data['retry'] !== false;
}

interface Subscription {
  readonly taskId: TaskId | undefined;
  readonly after: number;
  readonly signal: AbortSignal;
}

/** What one connection brings. The connection is its own, so that every `events` notification on it is of this subscription. */
async function* subscribe(
  connection: Connection,
  { taskId, after, signal }: Subscription,
): AsyncGenerator<StoredEvent, void> {
  const waiting: StoredEvent[] = [];
  let failure: Error | undefined;
  let wake = Promise.withResolvers<void>();
  const fail = (error: Error): void => {
    failure ??= error;
    wake.resolve();
  };
  const abort = (): void => void connection[Symbol.asyncDispose](); // never rejects; what waits for the connection fails with it

  connection.onNotification = ({ method, params }) => {
    if (method === 'subscription.failed')
      return fail(new Lost(notifications['subscription.failed'].params.parse(params).message));
    if (method !== 'events') return;
    waiting.push(...notifications.events.params.parse(params).events);
    if (waiting.length > maxWaiting) connection.pause();
    wake.resolve();
  };
  void connection.closed.then(({ error }) => fail(error)); // never rejects
  signal.addEventListener('abort', abort, { once: true });
  try {
    await (taskId === undefined
      ? connection.call('event.subscribe', { after })
      : connection.call('task.subscribe', { taskId, after }));
    while (true) {
      const batch = waiting.splice(0);
      connection.resume();
      yield* batch;
      if (waiting.length > 0) continue;
      if (failure) throw failure;
      await wake.promise;
      wake = Promise.withResolvers<void>();
    }
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
