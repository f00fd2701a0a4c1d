import type { Ending, Evidence, StopCause } from '../protocol/events.ts';
import type { ParsedEnding } from '../kit/executor.ts';
import type { Exit } from '../pty-host/protocol.ts';

/** How the turn's process came to its end: seen by its host, or unknown because the host died. */
export type TurnExit =
  { readonly kind: 'exit'; readonly exit: Exit } | { readonly kind: 'lost'; readonly swept: number };

export interface EndingFacts {
  readonly exit: TurnExit;
  readonly parsed: ParsedEnding;
  readonly stopCause: StopCause | null;
  /** The disk was found full while the turn ran. */
  readonly sawFullDisk: boolean;
  /** What the turn's terminal showed last. */
  readonly terminal: string;
}

/** What stopping a turn makes of it. After `retry_limit` the executor's own account names the provider's fault. */
const stopped: Readonly<Record<Exclude<StopCause, 'retry_limit'>, Ending>> = {
  by_peer: { outcome: 'cancelled', reason: 'by_peer' },
  by_stop: { outcome: 'cancelled', reason: 'by_stop' },
  wall_clock: { outcome: 'timed_out', reason: 'wall_clock' },
  idle: { outcome: 'timed_out', reason: 'idle' },
  output_limit: { outcome: 'failed', reason: 'output_limit' },
};

/**
 * The one place where a turn's ending is decided. Success is the executor's own final result and its exit, even when a
 * cancel came too late; otherwise what the daemon did counts first, then what the machine did, then what the executor said.
 */
export function decideEnding({ exit, parsed, stopCause, sawFullDisk, terminal }: EndingFacts): {
  ending: Ending;
  evidence: Evidence;
} {
  if (exit.kind === 'lost') {
    return {
      ending: { outcome: 'interrupted', reason: 'host_lost' },
      evidence: { ...parsed.evidence, exitCode: null, signal: null, exit: 'unknown', swept: exit.swept },
    };
  }
  const { code, signal, swept, oomKills } = exit.exit;
  const diskFull = sawFullDisk || exit.exit.diskFull;
  const ending = endingOf(parsed, stopCause, { diskFull, oomKills });
  return {
    ending,
    evidence: {
      ...parsed.evidence,
      exitCode: code,
      signal,
      swept,
      ...(oomKills !== null && { oomKills }),
      ...(ending.outcome === 'failed' && terminal !== '' && { terminal }),
    },
  };
}

function endingOf(
  { ending, evidence }: ParsedEnding,
  stopCause: StopCause | null,
  { diskFull, oomKills }: Pick<Exit, 'diskFull' | 'oomKills'>,
): Ending {
  if (ending.outcome === 'succeeded') return ending;
  if (stopCause !== null && stopCause !== 'retry_limit') return stopped[stopCause];
  if (evidence.saidResult) return ending; // it could write, and said itself what was wrong
  if (diskFull) return { outcome: 'failed', reason: 'disk_full' };
  if (oomKills !== null && oomKills > 0) return { outcome: 'failed', reason: 'out_of_memory' };
  return ending;
}
