import type { Mask } from '../base/mask.ts';
import type { Exit, Executor, ParsedEnding, Parser } from '../kit/executor.ts';
import type { ExecutorEvent } from '../protocol/events.ts';
import { CaptureReader, type CaptureLine } from './capture.ts';
import { DeltaMask } from './delta-mask.ts';
import type { TokenCounts } from '../store/reads.ts';
import { noTokens, SessionUsage } from './session-usage.ts';

/** Fewer bytes that a secret begins with tell nothing: `s`, `sk-ant-`. */
const leastHidden = 8;

interface ParseOptions {
  readonly mask: Mask;
  /** What is looked for across the parts of a message: the same after a restart, for what is held back depends on it. Default: the same. */
  readonly seamMask?: Mask;
  readonly usageCounts?: Executor['usageCounts'];
  /** What earlier turns of the conversation reported, in all. */
  readonly told?: TokenCounts;
}

/** Folds an executor's lines into events, and keeps what the turn must know of them: its session and which tools run. */
export class Parse {
  readonly #parser: Parser<unknown>;
  readonly #mask: Mask;
  readonly #deltas: DeltaMask;
  readonly #usage: SessionUsage | undefined;
  readonly #openCalls = new Set<string>();
  #state: unknown;
  #session: string | undefined;
  #retryDelayMs: number | undefined;
  #isStuck = false;

  constructor(parser: Parser<unknown>, { mask, seamMask = mask, usageCounts, told = noTokens }: ParseOptions) {
    this.#parser = parser;
    this.#mask = mask;
    this.#deltas = new DeltaMask(seamMask);
    this.#usage = usageCounts === 'session' ? new SessionUsage(told) : undefined;
    this.#state = parser.start();
  }

  /** Rebuilds what the parser knew: the recorded lines, folded again and told to nobody. */
  async refold(path: string, { upTo, maxLineBytes }: { upTo: number; maxLineBytes: number }): Promise<void> {
    if (upTo === 0) return;
    await using reader = await CaptureReader.open(path, { maxLineBytes });
    for (;;) {
      const { lines, atEnd } = await reader.read();
      for (const line of lines) {
        if (line.end > upTo) return;
        this.line(line);
      }
      if (atEnd) return;
    }
  }

  line({ text, cutFrom }: CaptureLine, { partial = false } = {}): readonly ExecutorEvent[] {
    if (partial || cutFrom !== undefined) {
      const data = { text: this.#cutText(text), ...(partial && { partial }), ...(cutFrom && { bytes: cutFrom }) };
      return [{ type: 'executor.unparsed', data }];
    }
    const { state, events, isStuck = false } = this.#parser.line(this.#state, text);
    this.#state = state;
    this.#isStuck ||= isStuck;
    for (const { type, data } of events) {
      if (type === 'tool.called') this.#openCalls.add(data.callId);
      else if (type === 'tool.finished') this.#openCalls.delete(data.callId);
      else if (type === 'executor.session') this.#session = data.sessionId;
      this.#retryDelayMs = type === 'retry.announced' ? (data.delayMs ?? 0) : undefined;
    }
    return this.#told(events);
  }

  end(exit: Exit): ParsedEnding {
    return this.#mask.deep(this.#parser.end(this.#state, exit) as never); // JSON in, the same shape out
  }

  /** Text that was put together anew: what stood apart before may be a secret now. */
  masked(text: string): string {
    return this.#mask.text(text);
  }

  /** The executor's own conversation id, as far as it has been told. */
  get session(): string | undefined {
    return this.#session;
  }

  /** How long the executor said it would wait for its provider, if that is the last thing it said. */
  get retryDelayMs(): number | undefined {
    return this.#retryDelayMs;
  }

  /** It goes round in a circle, and will not end by itself. */
  get isStuck(): boolean {
    return this.#isStuck;
  }

  get hasOpenCall(): boolean {
    return this.#openCalls.size > 0;
  }

  /** The text may end in the middle of a secret. */
  #cutText(text: string): string {
    const bytes = Buffer.from(text);
    const start = this.#mask.possibleStart(bytes);
    const masked = Buffer.from(this.#mask.bytes(bytes));
    return (bytes.length - start < leastHidden ? masked : masked.fill('*', start)).toString();
  }

  #told(events: readonly ExecutorEvent[]): readonly ExecutorEvent[] {
    const told = events.flatMap((event) => [...this.#deltas.pass(this.#counted(event))]);
    return this.#mask.deep(told as never) as readonly ExecutorEvent[]; // events are JSON: the shape stays, strings may change
  }

  #counted(event: ExecutorEvent): ExecutorEvent {
    if (event.type !== 'usage.reported' || !this.#usage) return event;
    return { ...event, data: this.#usage.since(event.data) };
  }
}
