import { watch } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

export interface CaptureLine {
  readonly text: string;
  /** Offset after the line's end: all up to here has been read. */
  readonly end: number;
  /** Length of the whole line in bytes, when only its beginning is in `text`. */
  readonly cutFrom?: number;
}

const chunkBytes = 256 * 1024;
const keptOfLongLine = 64 * 1024;
const newline = 10;
const pollMs = 200;

/** Reads an executor's output from a file that it appends to: whole lines only, from any line's beginning on. */
export class CaptureReader implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #maxLineBytes: number;
  readonly #buffer = Buffer.allocUnsafe(chunkBytes);
  /** The beginning of a line whose end has not been seen. */
  #partial: Buffer[] = [];
  #partialBytes = 0;
  #offset: number;

  private constructor(file: FileHandle, offset: number, maxLineBytes: number) {
    this.#file = file;
    this.#offset = offset;
    this.#maxLineBytes = maxLineBytes;
  }

  static async open(
    path: string,
    { offset = 0, maxLineBytes }: { offset?: number; maxLineBytes: number },
  ): Promise<CaptureReader> {
    return new CaptureReader(await open(path, 'r'), offset, maxLineBytes);
  }

  /** The lines that end in the next chunk; `atEnd` when the file had no more bytes. */
  async read(): Promise<{ lines: CaptureLine[]; atEnd: boolean }> {
    const { bytesRead } = await this.#file.read(this.#buffer, 0, chunkBytes, this.#offset);
    const lines: CaptureLine[] = [];
    let start = 0;
    for (let at = 0; (at = this.#buffer.subarray(0, bytesRead).indexOf(newline, start)) !== -1; start = at + 1) {
      this.#keep(this.#buffer.subarray(start, at));
      lines.push(this.#takeLine(this.#offset + at + 1));
    }
    this.#keep(this.#buffer.subarray(start, bytesRead), { copy: true });
    this.#offset += bytesRead;
    return { lines, atEnd: bytesRead === 0 };
  }

  /** What stands after the last line's end, when nothing more will come. */
  takePartial(): CaptureLine | undefined {
    return this.#partialBytes === 0 ? undefined : this.#takeLine(this.#offset);
  }

  /** Length of the file so far. */
  async size(): Promise<number> {
    return (await this.#file.stat()).size;
  }

  #keep(bytes: Buffer, { copy = false } = {}): void {
    if (bytes.length > 0 && this.#partialBytes <= this.#maxLineBytes)
      this.#partial.push(copy ? Buffer.from(bytes) : bytes);
    this.#partialBytes += bytes.length;
  }

  #takeLine(end: number): CaptureLine {
    const bytes = this.#partial.length === 1 ? this.#partial[0]! : Buffer.concat(this.#partial);
    const length = this.#partialBytes;
    this.#partial = [];
    this.#partialBytes = 0;
    return length > this.#maxLineBytes
      ? { text: bytes.toString('utf8', 0, keptOfLongLine), end, cutFrom: length }
      : { text: bytes.toString('utf8'), end };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Calls back when a file may have grown. Where the system has no watches left, it looks a few times a second. */
export function watchGrowth(path: string, onChange: () => void): Disposable {
  try {
    const watcher = watch(path, { persistent: false }, onChange);
    watcher.on('error', onChange);
    return { [Symbol.dispose]: () => watcher.close() };
  } catch {
    const timer = setInterval(onChange, pollMs);
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }
}
