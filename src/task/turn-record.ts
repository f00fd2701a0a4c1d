import { setTimeout as delay } from 'node:timers/promises';
import { isFileSystemFull } from '../base/files.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { NewEvent } from '../protocol/events.ts';
import type { TurnChange, TurnRow } from '../store/rows.ts';
import type { TurnServices } from './turn-services.ts';

const retryMs = 1_000;

export interface RecordOptions {
  /** Whether space is kept for it on a full disk; asked anew at each try. */
  readonly isUrgent?: () => boolean;
  /** When it happened, if not just now; milliseconds since the epoch. */
  readonly at?: number;
}

/** A turn as it is recorded, and the one way to change it. */
export class TurnRecord {
  readonly #services: Pick<TurnServices, 'store' | 'clock' | 'log'>;
  #row: TurnRow;
  #sawFullDisk = false;
  #last: Promise<void> = Promise.resolve();

  constructor(services: Pick<TurnServices, 'store' | 'clock' | 'log'>, row: TurnRow) {
    this.#services = services;
    this.#row = row;
  }

  get row(): TurnRow {
    return this.#row;
  }

  /** Whether the disk was found full while the turn ran. */
  get sawFullDisk(): boolean {
    return this.#sawFullDisk;
  }

  /** Resolves when the change and its events are durable. One after another: what waits for the disk is not overtaken. */
  write(
    change: TurnChange,
    events: readonly NewEvent[],
    options: RecordOptions & { signal: AbortSignal },
  ): Promise<void> {
    const writing = this.#last.then(() => this.#write(change, events, options));
    this.#last = writing.catch(() => undefined); // told to whoever asked for it
    return writing;
  }

  /** Waits out a full disk: what is to be told stays in the capture meanwhile. */
  async #write(
    change: TurnChange,
    events: readonly NewEvent[],
    { signal, isUrgent = () => false, at = this.#services.clock.now() }: RecordOptions & { signal: AbortSignal },
  ): Promise<void> {
    const { store, log } = this.#services;
    const { id: turnId, taskId } = this.#row;
    for (;;) {
      try {
        await store.write('advance', { taskId, turnId, change, events, at }, { urgent: isUrgent() });
        this.#row = { ...this.#row, ...change };
        return;
      } catch (error) {
        if (!(error instanceof DaemonError) || error.code !== 'storage_full') throw error;
        this.#sawFullDisk = true;
        log.warn({ turnId }, 'the disk is full: waiting');
        await delay(retryMs, undefined, { signal });
      }
    }
  }

  /** An executor that cannot write its output has no other way to say so. */
  async lookAtDisk(path: string): Promise<void> {
    if (await isFileSystemFull(path)) this.#sawFullDisk = true;
  }
}
