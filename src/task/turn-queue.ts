import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { StopCause, WaitReason } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { Turn } from './turn.ts';

const minRetryMs = 500;
const maxRetryMs = 30_000;

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
      if (turn.hasEnded) this.#open.delete(turn.id);
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

  /** Why a turn does not start, and its place among those of its workspace that wait; undefined when it does not wait. */
  waiting(turnId: TurnId): { reason: WaitReason; position: number } | undefined {
    const found = this.#waiting().get(turnId);
    return found && { reason: found.reason, position: found.position };
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

  #waiting(): Map<TurnId, { turn: Turn; reason: WaitReason; position: number }> {
    const busy = new Set([...this.#running.keys()].map((id) => this.#open.get(id)?.workspace));
    const waiting = new Map<TurnId, { turn: Turn; reason: WaitReason; position: number }>();
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
      const position = (places.get(turn.workspace) ?? 0) + 1;
      places.set(turn.workspace, position);
      waiting.set(turn.id, { turn, reason, position });
    }
    return waiting;
  }

  #reasonToWait(turn: Turn, { isBusy, hasRoom }: { isBusy: boolean; hasRoom: boolean }): WaitReason | undefined {
    if (isBusy) return 'workspace_busy';
    if (turn.isLaunched) return undefined;
    return turn.lacks ?? (hasRoom ? undefined : 'concurrency_limit');
  }

  #start(turn: Turn): void {
    turn.claim();
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
