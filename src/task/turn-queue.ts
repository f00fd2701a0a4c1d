import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { StopCause, WaitReason } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { Turn } from './turn.ts';

const minRetryMs = 500;
const maxRetryMs = 30_000;

export interface Waiting {
  readonly turn: Turn;
  readonly reason: WaitReason;
  /** 1 is next: of its workspace, or of all that wait for room. */
  readonly position: number;
}

/** The turns that have not ended. Those of one workspace run one after another, others at once up to a limit. */
export class TurnQueue {
  readonly #concurrency: number;
  readonly #log: Logger;
  /** In the order in which they were asked for. */
  readonly #open = new Map<TurnId, Turn>();
  readonly #running = new Map<TurnId, Promise<void>>();
  readonly #detached = new AbortController();

  constructor({ concurrency, log }: { concurrency: number; log: Logger }) {
    this.#concurrency = concurrency;
    this.#log = log;
  }

  get size(): number {
    return this.#open.size;
  }

  add(...turns: readonly Turn[]): void {
    for (const turn of turns) this.#open.set(turn.id, turn);
    this.pump();
  }

  /** Stops the turns of a task, or all; the last first, so that none starts in between. Resolves when that is recorded. */
  async stop(cause: StopCause, taskId?: TaskId): Promise<TurnId[]> {
    const turns = [...this.#open.values()].filter(
      (turn) => !turn.hasEnded && (taskId === undefined || turn.taskId === taskId),
    );
    for (const turn of turns.toReversed()) {
      await turn.stop(cause);
      if (turn.hasEnded && !this.#running.has(turn.id)) this.#open.delete(turn.id); // one that runs still clears up
    }
    this.pump();
    return turns.map(({ id }) => id);
  }

  /** Resolves when every turn that runs now has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  /** Lets go of all turns: they run on. */
  async detach(): Promise<void> {
    this.#detached.abort();
    for (const turn of this.#open.values()) turn.detach();
    await this.settled();
  }

  /** Those that do not start yet: why, and their places. */
  waiting(): ReadonlyMap<TurnId, Waiting> {
    return this.#waiting();
  }

  /** Starts every turn whose turn it is. Called whenever that may have changed. */
  pump(): void {
    if (this.#detached.signal.aborted) return;
    for (;;) {
      const waiting = this.#waiting();
      const next = [...this.#open.values()].find(({ id }) => !this.#running.has(id) && !waiting.has(id));
      if (!next) {
        for (const { turn, reason } of waiting.values()) turn.noteWaiting(reason);
        return;
      }
      this.#start(next);
    }
  }

  #waiting(): Map<TurnId, Waiting> {
    const busy = new Set([...this.#running.keys()].map((id) => this.#open.get(id)?.workspace));
    const waiting = new Map<TurnId, Waiting>();
    const places = new Map<string, number>();
    let free = this.#concurrency - this.#running.size;
    for (const turn of this.#open.values()) {
      if (this.#running.has(turn.id)) continue;
      const reason = this.#reasonToWait(turn, { isBusy: busy.has(turn.workspace), hasRoom: free > 0 });
      busy.add(turn.workspace); // what comes later in the workspace does not overtake it
      if (reason === undefined) {
        free -= 1;
        continue;
      }
      const line = reason === 'concurrency_limit' ? '' : turn.workspace; // for room they wait in one line
      const position = (places.get(line) ?? 0) + 1;
      places.set(line, position);
      waiting.set(turn.id, { turn, reason, position });
    }
    return waiting;
  }

  #reasonToWait(turn: Turn, { isBusy, hasRoom }: { isBusy: boolean; hasRoom: boolean }): WaitReason | undefined {
    if (isBusy) return 'workspace_busy';
    if (turn.isLaunched) return undefined;
    if (!hasRoom) return 'concurrency_limit';
    return turn.lacks;
  }

  #start(turn: Turn): void {
    const run = this.#runUntilEnded(turn).finally(() => {
      this.#running.delete(turn.id);
      if (turn.hasEnded) this.#open.delete(turn.id);
      this.pump();
    });
    this.#running.set(turn.id, run);
  }

  /** A turn can go on from any step: what fails for a reason of ours (no file descriptor left, say) is tried again. */
  async #runUntilEnded(turn: Turn): Promise<void> {
    const { signal } = this.#detached;
    for (let retryMs = minRetryMs; !turn.hasEnded && !signal.aborted; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      try {
        await turn.run();
        return;
      } catch (error) {
        this.#log.error({ err: error, turnId: turn.id, retryMs }, 'a turn stumbled; it goes on');
        await delay(retryMs, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
      }
    }
  }
}
