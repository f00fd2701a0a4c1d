import { StreamMask, type Mask } from '../base/mask.ts';
import type { ExecutorEvent } from '../protocol/events.ts';

type Delta = Extract<ExecutorEvent, { type: 'message.delta' | 'tool.output' }>;

interface Stream {
  readonly mask: StreamMask;
  last: Delta;
}

/** Fewer characters that a secret begins with tell nothing. */
const leastHidden = 8;
const maxStreams = 64;

/**
 * Masks what comes in parts: the end of a part that could be the beginning of a secret is held back until more of the same
 * message or output comes, whatever is told in between.
 */
export class DeltaMask {
  readonly #mask: Mask;
  readonly #streams = new Map<string, Stream>();

  constructor(mask: Mask) {
    this.#mask = mask;
  }

  /** The same events for the same events, however they come. */
  *pass(event: ExecutorEvent): Generator<ExecutorEvent> {
    if (event.type === 'message.delta' || event.type === 'tool.output') {
      yield* this.#part(event);
      return;
    }
    for (const name of this.#endedBy(event)) yield* this.#end(name);
    yield event;
  }

  /** One message follows another; an output ends with its call. */
  #endedBy({ type, data }: ExecutorEvent): string[] {
    if (type === 'tool.finished') return [`tool.output ${data.callId}`];
    if (type !== 'message.added') return [];
    return [...this.#streams.keys()].filter((name) => name.startsWith('message.delta'));
  }

  *#part(delta: Delta): Generator<ExecutorEvent> {
    const name = nameOf(delta);
    const stream = this.#streams.get(name) ?? { mask: new StreamMask(this.#mask), last: delta };
    stream.last = delta;
    this.#streams.set(name, stream);
    const shown = stream.mask.push(Buffer.from(delta.data.text)).toString();
    if (shown !== '' || delta.data.text === '') yield withText(delta, shown);
    const [oldest] = this.#streams.keys();
    if (this.#streams.size > maxStreams) yield* this.#end(oldest);
  }

  /** Its whole follows: of what is held back so much is shown as tells nothing. */
  *#end(name: string | undefined): Generator<ExecutorEvent> {
    const stream = name === undefined ? undefined : this.#streams.get(name);
    if (!stream) return;
    this.#streams.delete(name!);
    const held = stream.mask.flush().toString();
    if (held !== '') yield withText(stream.last, held.length < leastHidden ? held : '*'.repeat(held.length));
  }
}

function nameOf({ type, data }: Delta): string {
  return `${type} ${'callId' in data ? data.callId : (data.messageId ?? '')}`;
}

function withText(delta: Delta, text: string): ExecutorEvent {
  return { ...delta, data: { ...delta.data, text } } as Delta; // the same type with the same fields
}
