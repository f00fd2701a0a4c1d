import type { Worker } from 'node:worker_threads';
import { DaemonError } from '../protocol/errors.ts';
import type { FromWriter, ToWriter, WriterData } from './writer-messages.ts';
import type { WriterThread } from './writer-thread.ts';
import type { WriteArgs, WriteName, WriteResult } from './writes.ts';

interface Waiting {
  readonly unit: ToWriter['units'][number];
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The writing connection, on a thread of its own because a commit blocks its thread until the disk has it.
 * A write is committed at once when the writer is idle; what arrives while it commits goes together into the next commit.
 */
export class Writer implements AsyncDisposable {
  readonly #worker: Worker;
  #queue: Waiting[] = [];
  #committing: Waiting[] | undefined;
  #closed: Error | undefined;
  #idle: (() => void) | undefined;
  readonly #died = Promise.withResolvers<Error>();

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (message: FromWriter) => this.#settle(message));
    worker.on('error', (error: Error) => this.#fail(error));
    worker.on('exit', () => this.#fail(new Error('the writer ended')));
  }

  /** The thread is the writer's from now on. */
  static async open({ worker, ready }: WriterThread, data: WriterData): Promise<Writer> {
    worker.postMessage(data);
    await ready;
    return new Writer(worker);
  }

  get isOpen(): boolean {
    return this.#closed === undefined;
  }

  /** Resolves when the thread has ended by itself: nothing can be recorded any more. */
  get died(): Promise<Error> {
    return this.#died.promise;
  }

  /** Resolves when the write is durable. `urgent` writes have space kept for them on a full disk. */
  write<N extends WriteName>(name: N, args: WriteArgs<N>, { urgent = false } = {}): Promise<WriteResult<N>> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    if (this.#closed) reject(this.#closed);
    else this.#queue.push({ unit: { name, args, urgent }, resolve, reject });
    this.#commitNext();
    return promise as Promise<WriteResult<N>>; // the worker answers each unit with its own write's result
  }

  #commitNext(): void {
    if (this.#committing) return;
    if (this.#queue.length === 0) {
      this.#idle?.();
      return;
    }
    this.#committing = this.#queue;
    this.#queue = [];
    try {
      this.#worker.postMessage({ units: this.#committing.map(({ unit }) => unit) } satisfies ToWriter);
    } catch (error) {
      this.#refuse(error);
    }
  }

  /** Something in the batch is no data: it alone is refused, the rest is sent again. */
  #refuse(error: unknown): void {
    const batch = this.#committing ?? [];
    this.#committing = undefined;
    const found = batch.filter(({ unit }) => !isData(unit));
    const bad = found.length > 0 ? found : batch;
    for (const { reject } of bad) reject(error);
    this.#queue.unshift(...batch.filter((waiting) => !bad.includes(waiting)));
    this.#commitNext();
  }

  #settle({ outcomes }: FromWriter): void {
    const settled = this.#committing ?? [];
    this.#committing = undefined;
    settled.forEach(({ resolve, reject }, index) => {
      const { result, failure } = outcomes[index]!;
      if (failure) reject(errorOf(failure));
      else resolve(result);
    });
    this.#commitNext();
  }

  #fail(error: Error): void {
    if (!this.#closed) this.#died.resolve(error);
    this.#closed ??= error;
    for (const { reject } of [...(this.#committing ?? []), ...this.#queue]) reject(error);
    this.#committing = undefined;
    this.#queue = [];
    this.#idle?.();
  }

  /** Waits for what is queued, then ends the thread. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed && (this.#committing || this.#queue.length > 0)) {
      await new Promise<void>((resolve) => (this.#idle = resolve));
    }
    this.#closed ??= new DaemonError('shutting_down', 'the daemon is stopping');
    await this.#worker.terminate();
  }
}

/** What went wrong inside is for the log, not for a peer. */
function errorOf({ code, message }: NonNullable<FromWriter['outcomes'][number]['failure']>): DaemonError {
  if (code !== 'internal') return new DaemonError(code, message);
  return new DaemonError(code, 'a fault of the daemon; its log has the cause', { cause: new Error(message) });
}

function isData(value: unknown): boolean {
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}
