import { randomUUID } from 'node:crypto';
import { DaemonError } from '../protocol/errors.ts';
import type { StoredEvent } from '../protocol/events.ts';
import type { Position } from '../store/rows.ts';
import type { Store } from '../store/store.ts';

/** Which events, in which order: a task's by `seq`, or all by `id`. */
export interface Source {
  read(after: number): StoredEvent[];
  concerns(position: Position): boolean;
  positionOf(event: StoredEvent): number;
}

interface SubscriptionsOptions {
  readonly store: Store;
  readonly max: number;
  readonly signal: AbortSignal;
  /** Resolves when the peer's socket has taken it: to false when the socket is closing or gone. */
  readonly notify: (method: 'events' | 'subscription.failed', params: object) => Promise<boolean>;
  readonly onFault: (error: unknown) => void;
}

/** A connection's subscriptions: each is a cursor into the journal, so that live and replay are the same and a slow peer holds one page. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #open = new Map<string, AbortController>();

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  /** `start` is to be called when the peer has been told the name. */
  add(source: Source, after: number): { name: string; start: () => void } {
    if (this.#open.size >= this.#options.max) {
      throw new DaemonError(
        'too_many_requests',
        `at most ${this.#options.max} subscriptions on a connection (limits.subscriptionsPerPeer)`,
      );
    }
    const name = randomUUID();
    const ended = new AbortController();
    this.#open.set(name, ended);
    const signal = AbortSignal.any([ended.signal, this.#options.signal]);
    return { name, start: () => void this.#run(name, source, after, signal) }; // #run catches all
  }

  remove(name: string): void {
    const ended = this.#open.get(name);
    if (!ended) throw new DaemonError('subscription_not_found', `no subscription ${name} on this connection`);
    ended.abort();
    this.#open.delete(name);
  }

  async #run(name: string, source: Source, after: number, signal: AbortSignal): Promise<void> {
    const { store, notify, onFault } = this.#options;
    let wake = Promise.withResolvers<void>();
    using _committed = store.onCommitted((position) => source.concerns(position) && wake.resolve());
    const onAbort = (): void => wake.resolve();
    signal.addEventListener('abort', onAbort);
    try {
      for (let cursor = after; !signal.aborted;) {
        const events = source.read(cursor);
        const last = events.at(-1);
        if (last) {
          cursor = source.positionOf(last);
          if (!(await notify('events', { subscription: name, events }))) return;
        } else {
          await wake.promise;
          wake = Promise.withResolvers();
        }
      }
    } catch (error) {
      onFault(error);
      await notify('subscription.failed', { subscription: name, message: 'a fault of the daemon; subscribe again' });
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#open.delete(name);
    }
  }
}
