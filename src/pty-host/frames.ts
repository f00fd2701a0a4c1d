import type { Duplex } from 'node:stream';
import { HostError } from './host-error.ts';

/** A frame: its payload's length (u32, big-endian), its kind (u8), the payload. */
export const maxFrameBytes = 16 * 1024 * 1024;
const headBytes = 5;
const jsonKind = 0;

export function encodeFrame(message: unknown): Buffer {
  const payload = Buffer.from(JSON.stringify(message));
  if (payload.length > maxFrameBytes) {
    throw new HostError(
      'bad_request',
      `A message of ${payload.length} bytes is more than the ${maxFrameBytes} allowed`,
    );
  }
  const frame = Buffer.allocUnsafe(headBytes + payload.length);
  frame.writeUInt32BE(payload.length, 0);
  frame.writeUInt8(jsonKind, 4);
  payload.copy(frame, headBytes);
  return frame;
}

/** The messages of a stream. Throws `bad_frame` at the first that is none; what the peer sent before it was served. */
export async function* readFrames(stream: Duplex): AsyncGenerator {
  let chunks: Buffer[] = [];
  let size = 0;
  let wanted = headBytes;
  // Left open when we stop: the peer is still to be told why.
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size < wanted) continue;
    let bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks, size);
    for (;;) {
      wanted = headBytes;
      if (bytes.length < headBytes) break;
      wanted += payloadLength(bytes);
      if (bytes.length < wanted) break;
      yield parse(bytes.subarray(headBytes, wanted));
      bytes = bytes.subarray(wanted);
    }
    chunks = [bytes];
    size = bytes.length;
  }
}

function payloadLength(head: Buffer): number {
  const length = head.readUInt32BE(0);
  if (length > maxFrameBytes) {
    throw new HostError('bad_frame', `A frame of ${length} bytes is more than the ${maxFrameBytes} allowed`);
  }
  const kind = head.readUInt8(4);
  if (kind !== jsonKind) throw new HostError('bad_frame', `A frame of the unknown kind ${kind}`);
  return length;
}

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8')) as unknown;
  } catch (cause) {
    throw new HostError('bad_frame', 'A frame that is not JSON', { cause });
  }
}
