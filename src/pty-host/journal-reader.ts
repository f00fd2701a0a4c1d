import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../base/files.ts';
import { decodeIndex, segmentName, segmentStart, type IndexRecord } from './journal-format.ts';

export interface JournalRange {
  /** Where `bytes` start: `from`, or later when what was there is gone. */
  readonly offset: number;
  /** Without a gap inside; one that follows is told by the next read. */
  readonly bytes: Buffer;
  /** Where the journal ends now. */
  readonly end: number;
  /** What is missing between `from` and `offset`. */
  readonly gaps: readonly { readonly offset: number; readonly missing: number }[];
}

interface Segment {
  readonly start: number;
  readonly end: number;
}

/** Reads a journal, also one that is being written: what its files hold now is what there is. */
export async function readJournal(
  dir: string,
  { from, maxBytes }: { from: number; maxBytes: number },
): Promise<JournalRange> {
  const segments = await readSegments(dir);
  const end = segments.at(-1)?.end ?? 0;
  const next = segments.find((segment) => segment.end > from);
  if (!next) return { offset: Math.max(from, 0), bytes: Buffer.alloc(0), end, gaps: [] };
  const offset = Math.max(from, next.start);
  const parts: Buffer[] = [];
  let at = offset;
  for (const segment of segments.slice(segments.indexOf(next))) {
    const left = maxBytes - (at - offset);
    if (left <= 0 || segment.start > at) break;
    const part = await readPart(
      join(dir, `${segmentName(segment.start)}.seg`),
      at - segment.start,
      Math.min(left, segment.end - at),
    );
    parts.push(part);
    at += part.length;
    if (at < segment.end) break;
  }
  return { offset, bytes: Buffer.concat(parts), end, gaps: offset > from ? gapsBetween(segments, from, offset) : [] };
}

/** How many bytes a journal has had so far. */
export async function journalSize(dir: string): Promise<number> {
  return (await readJournal(dir, { from: 0, maxBytes: 0 })).end;
}

/** The last bytes of a journal. */
export async function readTail(dir: string, maxBytes: number): Promise<Buffer> {
  const end = await journalSize(dir);
  return (await readJournal(dir, { from: Math.max(0, end - maxBytes), maxBytes })).bytes;
}

/** What happened and when, in order. */
export async function readIndex(dir: string): Promise<IndexRecord[]> {
  const records: IndexRecord[] = [];
  for (const { start } of await readSegments(dir)) {
    records.push(...decodeIndex(await readFile(join(dir, `${segmentName(start)}.idx`)).catch(() => Buffer.alloc(0))));
  }
  return records;
}

async function readSegments(dir: string): Promise<Segment[]> {
  const names = await readdir(dir).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  });
  const starts = names.map(segmentStart).filter((start) => start !== null);
  const segments = await Promise.all(
    starts
      .sort((a, b) => a - b)
      .map(async (start) => {
        const { size } = await stat(join(dir, `${segmentName(start)}.seg`)).catch(() => ({ size: -1 }));
        return { start, end: start + size };
      }),
  );
  return segments.filter((segment) => segment.end >= segment.start); // one may be dropped while we look
}

/** The stretches that no segment holds. */
function gapsBetween(segments: readonly Segment[], from: number, to: number): { offset: number; missing: number }[] {
  const gaps: { offset: number; missing: number }[] = [];
  let at = from;
  for (const segment of segments) {
    if (at >= to) break;
    if (segment.start > at) gaps.push({ offset: at, missing: segment.start - at });
    at = Math.max(at, segment.end);
  }
  return gaps;
}

async function readPart(path: string, position: number, length: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const bytes = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await file.read(bytes, done, length - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  } finally {
    await file.close();
  }
}
