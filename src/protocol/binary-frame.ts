const terminalBytes = 1;
const headerBytes = 2;
const offsetBytes = 8;

export interface TerminalFrame {
  readonly terminalId: string;
  /** Offset of the first byte in the terminal's journal. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** A binary frame: kind (1 byte, 1 = terminal bytes), length of the id (1), the id in ASCII, offset (8, big-endian), bytes. */
export function encodeTerminalFrame({ terminalId, offset, bytes }: TerminalFrame): Buffer {
  const id = Buffer.from(terminalId, 'ascii');
  const head = Buffer.alloc(headerBytes + id.length + offsetBytes);
  head.writeUInt8(terminalBytes, 0);
  head.writeUInt8(id.length, 1);
  id.copy(head, headerBytes);
  head.writeBigUInt64BE(BigInt(offset), headerBytes + id.length);
  return Buffer.concat([head, bytes]);
}

/** Throws a RangeError for what is not such a frame. */
export function decodeTerminalFrame(frame: Buffer): TerminalFrame {
  if (frame.readUInt8(0) !== terminalBytes) throw new RangeError(`unknown binary frame kind ${frame.readUInt8(0)}`);
  const idEnd = headerBytes + frame.readUInt8(1);
  return {
    terminalId: frame.toString('ascii', headerBytes, idEnd),
    offset: Number(frame.readBigUInt64BE(idEnd)),
    bytes: frame.subarray(idEnd + offsetBytes),
  };
}
