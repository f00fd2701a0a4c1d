import type { ExecutorEvent } from '../protocol/events.ts';
import type { TokenCounts } from '../store/reads.ts';

type Usage = Extract<ExecutorEvent, { type: 'usage.reported' }>['data'];

const counts = ['inputTokens', 'outputTokens', 'cacheReadTokens', 'cacheWriteTokens'] as const;

export const noTokens: TokenCounts = { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0 };

/** For executors that count from the beginning of a conversation: what was told before is not told again. */
export class SessionUsage {
  #told: TokenCounts;

  /** `told`: what earlier turns of the conversation reported, in all. */
  constructor(told: TokenCounts) {
    this.#told = told;
  }

  since(usage: Usage): Usage {
    const fresh = Object.fromEntries(counts.map((name) => [name, Math.max(0, usage[name] - this.#told[name])]));
    this.#told = usage;
    return { ...usage, ...fresh };
  }
}
