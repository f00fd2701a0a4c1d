import type { TurnSummary } from '../protocol/methods.ts';
import type { Waiting } from './turn-queue.ts';
import type { TurnRow } from '../store/rows.ts';

const maxPromptShown = 200;

/** A turn as a peer sees it: what is not known yet is absent. */
export function turnSummary(
  row: TurnRow,
  { prompt, waiting }: { prompt: string; waiting: Waiting | undefined },
): TurnSummary {
  const { startedAt, endedAt, stopCause, outcome, reason, evidence } = row;
  return {
    turnId: row.id,
    ordinal: row.ordinal,
    executor: row.executor,
    model: row.model,
    prompt: prompt.slice(0, maxPromptShown),
    state: row.state,
    ...(row.member !== null && { member: row.member }),
    ...(waiting && { waiting: { reason: waiting.reason, position: waiting.position } }),
    queuedAt: row.queuedAt,
    ...(stopCause !== null && { stopping: stopCause }),
    ...(outcome !== null && { outcome }),
    ...(reason !== null && { reason }),
    ...(evidence !== null && { evidence }),
    ...(startedAt !== null && { startedAt }),
    ...(endedAt !== null && { endedAt }),
  };
}
