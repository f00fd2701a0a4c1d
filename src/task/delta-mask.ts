import type { Mask } from '../base/mask.ts';
import type { ExecutorEvent } from '../protocol/events.ts';

type Delta = Extract<ExecutorEvent, { type: 'message.delta' | 'tool.output' }>;

interface Held {
  readonly delta: Delta;
  readonly bytes: Buffer;
}

/** Masks what comes in parts: a part's end that could be the beginning of a secret is held back until more is known. */
export class DeltaMask {
  readonly #mask: Mask;
  #held: Held | undefined;

  constructor(mask: Mask) {
    this.#mask = mask;
  }

  /** The same events for the same events, however they come. */
  *pass(event: ExecutorEvent): Generator<ExecutorEvent> {
    const isDelta = event.type === 'message.delta' || event.type === 'tool.output';
    if (!isDelta || (this.#held && nameOf(this.#held.delta) !== nameOf(event))) yield* this.#release();
    if (isDelta) yield* this.#passDelta(event);
    else yield event;
  }

  *#passDelta(delta: Delta): Generator<ExecutorEvent> {
    const before = this.#held?.bytes ?? Buffer.alloc(0);
    this.#held = undefined;
    const bytes = Buffer.concat([before, Buffer.from(delta.data.text)]);
    const { masked, found } = this.#mask.search(bytes);
    const cut = Math.max(this.#mask.possibleStart(bytes), ...found.map(({ end }) => end));
    if (cut < bytes.length) this.#held = { delta, bytes: bytes.subarray(cut) };
    if (cut > 0 || bytes.length === 0) yield withText(delta, masked.subarray(0, cut).toString());
  }

  *#release(): Generator<ExecutorEvent> {
    const held = this.#held;
    this.#held = undefined;
    if (held) yield withText(held.delta, held.bytes.toString()); // no secret: it did not go on as one
  }
}

function nameOf({ type, data }: Delta): string {
  return `${type} ${'callId' in data ? data.callId : (data.messageId ?? '')}`;
}

function withText(delta: Delta, text: string): ExecutorEvent {
  return delta.type === 'message.delta'
    ? { type: delta.type, data: { ...delta.data, text } }
    : { type: delta.type, data: { ...delta.data, text } };
}
