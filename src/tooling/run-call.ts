import type { Logger } from 'pino';
import type { Clock } from '../base/clock.ts';
import { Mask } from '../base/mask.ts';
import type { ToolServices } from '../kit/tool.ts';
import type { NewEvent } from '../protocol/events.ts';
import type { TurnId } from '../protocol/ids.ts';
import type { Store } from '../store/store.ts';
import { answerAgain, answerOf, keptAnswer, type Answer } from './answer.ts';
import { calledEvent, finishedEvent, interruptedEvent } from './call-events.ts';
import type { OpenCall } from './open-call.ts';
import { perform, type Outcome } from './perform.ts';

export interface RunOptions {
  readonly services: ToolServices;
  readonly store: Store;
  readonly limits: {
    readonly timeoutMs: number;
    readonly outputBytes: number;
    readonly eventBytes: number;
    readonly callsPerTurn: number;
    readonly answersMs: number;
  };
  /** What to mask in whatever a call says: the daemon's secrets, and the turn's. */
  readonly secretsOf: (turnId: TurnId | null) => Promise<readonly string[]>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onStep: (step: 'call.opened' | 'call.performed') => void;
}

/** A call from its opening event to its closing one. Rejects with what its caller is told. */
export async function runCall(call: OpenCall<Answer>, options: RunOptions): Promise<Answer> {
  const { store, services, limits, secretsOf, clock, log, onStep } = options;
  const { id, tool, taskId, turnId, bodyMac, workspace, request } = call;
  const startedAt = clock.now();
  const mask = new Mask(await secretsOf(turnId));
  const isKept = request.id !== undefined;
  const facts = { ...request, callId: id, effect: tool.effect };
  const opening = store.write('openCall', {
    call: { id, bodyMac, name: tool.name, taskId, turnId, isKept },
    events: [calledEvent({ mask, maxBytes: limits.eventBytes }, facts)],
    at: startedAt,
  });
  opening.catch(() => undefined); // awaited below
  if (tool.effect !== 'read' || isKept) {
    const { known } = await opening;
    if (known) return answerAgain(known, tool);
    onStep('call.opened');
  }
  const outcome = await perform(call, {
    context: {
      callId: id,
      caller: request.caller,
      ...(workspace !== undefined && { workspace }),
      signal: call.signal,
      services,
      progress: (text) => {
        if (call.signal.aborted) return; // its end is told, or about to be
        const told = mask.text(text);
        request.onProgress?.(told);
        const events = [{ type: 'tool.output', data: { callId: id, text: told } }] as const;
        store.write('record', { taskId, turnId, events, at: clock.now() }).catch((error: unknown) => {
          log.warn({ err: error, callId: id }, 'progress was not recorded');
        });
      },
    },
    mask,
    limits: { ...limits, ...tool.limits },
  });
  await opening;
  onStep('call.performed');
  const events = [closing(call, outcome, limits)];
  const closed = { id, outcome: outcome.kind, answer: keptAnswer(outcome), events, at: clock.now() };
  await store.write('closeCall', closed, { urgent: true }); // on a full disk none is opened, so that these are few
  log.info(
    { callId: id, tool: tool.name, taskId, turnId, outcome: outcome.kind, ms: clock.now() - startedAt },
    'tool call ended',
  );
  if (outcome.kind !== 'ok') throw outcome.error;
  return answerOf(id, tool, outcome.output);
}

function closing(
  { id: callId, tool, request: { via } }: OpenCall<Answer>,
  outcome: Outcome,
  { eventBytes }: RunOptions['limits'],
): NewEvent {
  if (outcome.kind === 'interrupted') return interruptedEvent(callId, outcome.error.reason);
  const text = outcome.kind === 'error' ? outcome.error.message : textOf(answerOf(callId, tool, outcome.output));
  return finishedEvent({ callId, outcome: outcome.kind, text, via }, eventBytes);
}

function textOf({ content }: Answer): string {
  return content.map((part) => (part.type === 'text' ? part.text : `[${part.mimeType}]`)).join('\n');
}
