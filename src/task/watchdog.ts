import type { Clock } from '../base/clock.ts';
import type { StopCause } from '../protocol/events.ts';

interface WatchdogOptions {
  readonly clock: Clock;
  readonly limits: { readonly idleMs: number; readonly captureBytes: number; readonly retryMs: number };
  /** Milliseconds since the epoch, as recorded at the start: a restart of the daemon gives no more time. */
  readonly deadlineAt: number;
  readonly activeAt: number;
  /** Why the turn is being ended already: then that is asked for again, lest a lost connection lose it. */
  readonly stopCause: () => StopCause | null;
  /** Whether a tool runs: an open tool call, or a process beside the executor itself. */
  readonly isBusy: () => Promise<boolean>;
  readonly captureSize: () => Promise<number>;
  readonly onLimit: (cause: StopCause) => void;
  readonly onFault: (error: unknown) => void;
}

const maxTickMs = 1_000;

/** A turn's own limits. No executor gives up by itself on a provider that hangs. */
export class Watchdog implements Disposable {
  readonly #options: WatchdogOptions;
  readonly #timer: NodeJS.Timeout;
  #activeAt: number;
  #retryingSince: number | undefined;
  #checking = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#activeAt = options.activeAt;
    this.#timer = setInterval(() => void this.#tick(), Math.min(maxTickMs, Math.max(50, options.limits.idleMs / 4)));
  }

  /** The executor said something: milliseconds if it was that it waits to ask its provider again; `silent` if it tells nothing of that. */
  touch(retryDelayMs: number | 'silent' | undefined): void {
    const { clock, limits, onLimit } = this.#options;
    this.#activeAt = clock.now();
    if (retryDelayMs === 'silent') return;
    this.#retryingSince = retryDelayMs === undefined ? undefined : (this.#retryingSince ?? this.#activeAt);
    if (retryDelayMs !== undefined && this.#activeAt - this.#retryingSince! + retryDelayMs > limits.retryMs)
      onLimit('retry_limit');
  }

  async #tick(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    try {
      const cause = await this.#check();
      if (cause) this.#options.onLimit(cause);
    } catch (error) {
      this.#options.onFault(error);
    } finally {
      this.#checking = false;
    }
  }

  async #check(): Promise<StopCause | undefined> {
    const { clock, limits, deadlineAt, stopCause, isBusy, captureSize } = this.#options;
    const begun = stopCause();
    if (begun) return begun;
    if (clock.now() >= deadlineAt) return 'wall_clock';
    if ((await captureSize()) > limits.captureBytes) return 'output_limit';
    if (clock.now() - this.#activeAt < limits.idleMs / 2) return undefined; // too early to ask what runs
    if (await isBusy()) this.#activeAt = clock.now();
    return clock.now() - this.#activeAt >= limits.idleMs ? 'idle' : undefined;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
