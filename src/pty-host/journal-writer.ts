import { open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../base/files.ts';
import {
  encodeHeader,
  encodeRecord,
  maxSegmentBytes,
  segmentName,
  type IndexRecord,
  type Kind,
} from './journal-format.ts';

export interface JournalOptions {
  readonly segmentBytes: number;
  /** How long output waits for room on a full disk before it is given up. */
  readonly diskFullMs: number;
  readonly retryMs: number;
}

const defaults: JournalOptions = { segmentBytes: maxSegmentBytes, diskFullMs: 30_000, retryMs: 250 };

interface Entry {
  readonly kind: Kind;
  readonly time: bigint;
  readonly arg: bigint;
  readonly chunks: Buffer[];
  length: number;
}

/** Output that follows this soon is of the same record, up to this much. */
const mergeNs = 5_000_000n;
const mergeBytes = 64 * 1024;

/**
 * Appends to a journal, in order, without a sync, and never fails its caller: what the disk does not take is counted and
 * becomes a gap. Whoever appends watches `pending` and stops reading when it is too much.
 */
export class JournalWriter {
  readonly #dir: string;
  readonly #options: JournalOptions;
  #queue: Entry[] = [];
  #writing: Promise<void> | null = null;
  #segment: Segment | null = null;
  /** Bytes given up since the last that was written. */
  #missing = 0;
  #lastAttempt = 0;
  /** Bytes appended and not yet written. */
  pending = 0;
  /** Whether bytes were given up for want of room. */
  diskFull = false;
  /** Called whenever `pending` has shrunk. */
  onProgress: () => void = () => {};

  constructor(dir: string, options: Partial<JournalOptions> = {}) {
    this.#dir = dir;
    this.#options = { ...defaults, ...options };
  }

  append(kind: Kind, bytes: Buffer, arg = 0n): void {
    const time = process.hrtime.bigint();
    const last = this.#queue.at(-1);
    if (last?.kind === 'output' && kind === 'output' && last.length < mergeBytes && time - last.time < mergeNs) {
      last.chunks.push(bytes);
      last.length += bytes.length;
    } else {
      this.#queue.push({ kind, time, arg, chunks: [bytes], length: bytes.length });
    }
    this.pending += bytes.length;
    this.#writing ??= this.#writeQueue();
  }

  /** Writes what waits, as long as a full disk is given, and closes the files. Nothing may be appended after it. */
  async close(): Promise<void> {
    await this.#writing;
    if (this.#missing > 0) await this.#openSegment().catch(() => undefined); // tells the gap, if there is room by now
    await this.#segment?.close();
    this.#segment = null;
  }

  async #writeQueue(): Promise<void> {
    for (let entry = this.#queue.shift(); entry; entry = this.#queue.shift()) {
      await this.#store(Buffer.concat(entry.chunks), entry);
      this.pending -= entry.length;
      this.onProgress();
    }
    this.#writing = null;
  }

  async #store(bytes: Buffer, { kind, time, arg }: Entry): Promise<void> {
    let rest = bytes;
    do {
      if (this.#missing > 0 || (this.#segment?.size ?? Infinity) >= this.#options.segmentBytes) {
        if (!(await this.#attempt(() => this.#openSegment()))) break;
      }
      const segment = this.#segment!; // opened above
      const [offset, length] = [segment.end, Math.min(rest.length, this.#options.segmentBytes - segment.size)];
      const isWritten = await this.#attempt(() => segment.writeUpTo(offset, rest.subarray(0, length)));
      const record = { offset, time, length: segment.end - offset, kind, arg };
      rest = rest.subarray(record.length);
      if (!isWritten) {
        if (record.length > 0) await segment.writeRecord(record).catch(() => undefined); // its bytes count without it
        break;
      }
      await this.#attempt(() => segment.writeRecord(record));
    } while (rest.length > 0);
    this.#missing += rest.length;
  }

  /** Opens the next segment, after the gap if there is one. */
  async #openSegment(): Promise<void> {
    const end = this.#segment?.end ?? 0;
    const next = await Segment.open(this.#dir, end + this.#missing);
    try {
      const gap = {
        offset: end,
        time: process.hrtime.bigint(),
        length: 0,
        kind: 'gap',
        arg: BigInt(this.#missing),
      } as const;
      if (this.#missing > 0) await next.writeRecord(gap);
    } catch (error) {
      await next.discard();
      throw error;
    }
    await this.#segment?.close();
    this.#segment = next;
    this.#missing = 0;
  }

  /** Tries again while the disk is full, until the time is over. Once bytes were given up it tries only now and then. */
  async #attempt(action: () => Promise<void>): Promise<boolean> {
    const { diskFullMs, retryMs } = this.#options;
    const started = performance.now();
    if (this.#missing > 0 && started - this.#lastAttempt < retryMs) return false;
    for (;;) {
      try {
        await action();
        return true;
      } catch (error) {
        this.#lastAttempt = performance.now();
        if (this.#missing > 0 || this.#lastAttempt - started >= diskFullMs) {
          this.diskFull ||= ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(errnoOf(error) ?? '');
          return false;
        }
        await sleep(retryMs);
      }
    }
  }
}

/** The two files of one segment, both written by position, so that a write that was cut is simply written again. */
class Segment {
  readonly #path: string;
  readonly #data: FileHandle;
  readonly #index: FileHandle;
  readonly #start: number;
  #indexSize = 0;
  size = 0;

  private constructor(path: string, data: FileHandle, index: FileHandle, start: number) {
    this.#path = path;
    this.#data = data;
    this.#index = index;
    this.#start = start;
  }

  static async open(dir: string, start: number): Promise<Segment> {
    const path = join(dir, segmentName(start));
    const data = await open(`${path}.seg`, 'w', 0o600);
    const index = await open(`${path}.idx`, 'w', 0o600).catch(async (error: unknown) => {
      await data.close();
      await unlink(`${path}.seg`);
      throw error;
    });
    const segment = new Segment(path, data, index, start);
    try {
      const header = encodeHeader();
      await writeAt(index, header, 0, () => undefined);
      segment.#indexSize = header.length;
      return segment;
    } catch (error) {
      await segment.discard();
      throw error;
    }
  }

  /** The journal's offset after the last byte. */
  get end(): number {
    return this.#start + this.size;
  }

  /** Writes the bytes that start at the journal's `offset`, but for those that an earlier attempt wrote. */
  async writeUpTo(offset: number, bytes: Buffer): Promise<void> {
    await writeAt(this.#data, bytes.subarray(this.end - offset), this.size, (written) => (this.size += written));
  }

  async writeRecord(record: IndexRecord): Promise<void> {
    const bytes = encodeRecord(record);
    await writeAt(this.#index, bytes, this.#indexSize, () => undefined);
    this.#indexSize += bytes.length;
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#data.close(), this.#index.close()]);
  }

  async discard(): Promise<void> {
    await this.close();
    await Promise.allSettled([unlink(`${this.#path}.seg`), unlink(`${this.#path}.idx`)]);
  }
}

async function writeAt(
  file: FileHandle,
  bytes: Buffer,
  position: number,
  onWritten: (n: number) => void,
): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
    onWritten(bytesWritten);
  }
}
