import { z } from 'zod';
import type { Tool, ToolContent } from '../kit/tool.ts';
import { DaemonError, errorKinds, type ErrorCode } from '../protocol/errors.ts';
import { InterruptReason } from '../protocol/events.ts';
import type { CallRow } from '../store/call-rows.ts';
import { Interruption } from './interruption.ts';
import type { Outcome, Output } from './perform.ts';

/** What whoever called is given. */
export interface Answer {
  readonly callId: string;
  readonly output: Output;
  /** What a model is shown of it. */
  readonly content: readonly ToolContent[];
}

const KeptError = z.object({
  code: z.enum(Object.keys(errorKinds) as [ErrorCode, ...ErrorCode[]]),
  message: z.string(),
  data: z.record(z.string(), z.unknown()),
});
const KeptInterruption = z.object({ reason: InterruptReason });

export function answerOf(callId: string, tool: Tool, output: Output): Answer {
  return { callId, output, content: tool.show?.(output) ?? [{ type: 'text', text: JSON.stringify(output) }] };
}

/** An outcome as it is kept, so that a retry gets the same answer. */
export function keptAnswer(outcome: Outcome): string {
  if (outcome.kind === 'ok') return JSON.stringify(outcome.output);
  if (outcome.kind === 'interrupted') return JSON.stringify({ reason: outcome.error.reason });
  const { code, message, data } = outcome.error;
  return JSON.stringify({ code, message, data });
}

/** The answer of the first time. A call of which nobody knows what became is never run again. */
export function answerAgain({ id, outcome, answer }: CallRow, tool: Tool): Answer {
  if (answer === null || outcome === null) throw new Interruption('daemon_restarted');
  const kept: unknown = JSON.parse(answer);
  if (outcome === 'ok') return answerOf(id, tool, kept as Output); // its own tool's output, as it was
  if (outcome === 'interrupted') throw new Interruption(KeptInterruption.parse(kept).reason);
  const { code, message, data } = KeptError.parse(kept);
  throw new DaemonError(code, message, { data });
}
