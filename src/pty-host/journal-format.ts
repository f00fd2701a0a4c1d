import { FORMAT } from './protocol.ts';

/**
 * A terminal's byte journal on disk. `<start>.seg` holds the bytes from the offset `start` on (16 hex digits), `<start>.idx`
 * says what they are: a header (`HDJ1`, format u16, reserved) and one record of 32 bytes each time something happened:
 * offset u64, monotonic time in ns u64, length u32, kind u8, 3 unused, arg u64; all big-endian.
 * Bytes are written before their record. A gap has no bytes but counts in the offsets, so a new segment follows it, whose
 * index begins with its record.
 */
export const maxSegmentBytes = 2 * 1024 * 1024;
export const headerBytes = 16;
export const recordBytes = 32;

const magic = 'HDJ1';

/** What arg means: rendered: the event's id; resize: columns << 32 | rows; gap: how many bytes are missing. */
export const kinds = { output: 1, rendered: 2, resize: 3, gap: 4, checkpoint: 5 } as const;
export type Kind = keyof typeof kinds;

export interface IndexRecord {
  readonly offset: number;
  /** CLOCK_MONOTONIC, nanoseconds. */
  readonly time: bigint;
  readonly length: number;
  readonly kind: Kind;
  readonly arg: bigint;
}

export function segmentName(start: number): string {
  return start.toString(16).padStart(16, '0');
}

/** The start of a segment by its file name; null for every other file. */
export function segmentStart(fileName: string): number | null {
  return /^[0-9a-f]{16}\.seg$/.test(fileName) ? parseInt(fileName.slice(0, 16), 16) : null;
}

export function encodeHeader(): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.write(magic, 'latin1');
  header.writeUInt16BE(FORMAT, 4);
  return header;
}

export function encodeRecord({ offset, time, length, kind, arg }: IndexRecord): Buffer {
  const bytes = Buffer.alloc(recordBytes);
  bytes.writeBigUInt64BE(BigInt(offset), 0);
  bytes.writeBigUInt64BE(time, 8);
  bytes.writeUInt32BE(length, 16);
  bytes.writeUInt8(kinds[kind], 20);
  bytes.writeBigUInt64BE(arg, 24);
  return bytes;
}

export const resizeArg = (cols: number, rows: number): bigint => (BigInt(cols) << 32n) | BigInt(rows);

/** The whole records of an index; a torn last one is not counted. */
export function decodeIndex(bytes: Buffer): IndexRecord[] {
  if (bytes.length < headerBytes || bytes.toString('latin1', 0, 4) !== magic || bytes.readUInt16BE(4) !== FORMAT)
    return [];
  const records: IndexRecord[] = [];
  for (let at = headerBytes; at + recordBytes <= bytes.length; at += recordBytes) {
    const kind = kindNames.get(bytes.readUInt8(at + 20));
    if (kind === undefined) continue; // of a later version
    const [offset, time] = [Number(bytes.readBigUInt64BE(at)), bytes.readBigUInt64BE(at + 8)];
    records.push({ offset, time, length: bytes.readUInt32BE(at + 16), kind, arg: bytes.readBigUInt64BE(at + 24) });
  }
  return records;
}

const kindNames = new Map<number, Kind>(Object.entries(kinds).map(([name, number]) => [number, name as Kind])); // its keys
