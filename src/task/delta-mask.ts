import { StreamMask, type Mask } from '../base/mask.ts';
import type { ExecutorEvent } from '../protocol/events.ts';

type Delta = Extract<ExecutorEvent, { type: 'message.delta' | 'tool.output' }>;

/** Masks what comes in parts: a part's end that could be the beginning of a secret is held back until more is known. */
export class DeltaMask {
  readonly #mask: Mask;
  #stream: StreamMask;
  /** What the stream's parts are of. */
  #last: Delta | undefined;

  constructor(mask: Mask) {
    this.#mask = mask;
    this.#stream = new StreamMask(mask);
  }

  /** The same events for the same events, however they come. */
  *pass(event: ExecutorEvent): Generator<ExecutorEvent> {
    const isDelta = event.type === 'message.delta' || event.type === 'tool.output';
    if (this.#last && !(isDelta && nameOf(event) === nameOf(this.#last))) yield* this.#release(this.#last);
    if (!isDelta) {
      yield event;
      return;
    }
    this.#last = event;
    const shown = this.#stream.push(Buffer.from(event.data.text)).toString();
    if (shown !== '' || event.data.text === '') yield withText(event, shown);
  }

  /** It did not go on as a secret. */
  *#release(last: Delta): Generator<ExecutorEvent> {
    const shown = this.#stream.flush().toString();
    this.#last = undefined;
    this.#stream = new StreamMask(this.#mask);
    if (shown !== '') yield withText(last, shown);
  }
}

function nameOf({ type, data }: Delta): string {
  return `${type} ${'callId' in data ? data.callId : (data.messageId ?? '')}`;
}

function withText(delta: Delta, text: string): ExecutorEvent {
  return { ...delta, data: { ...delta.data, text } } as Delta; // the same type with the same fields
}
