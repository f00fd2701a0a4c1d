import type { WebSocket } from 'ws';
import type { closeCodes } from '../protocol/errors.ts';

export type CloseCode = keyof typeof closeCodes;

const closeGraceMs = 1_000;
const maxUntaken = 256;

/**
 * One WebSocket: text frames in and out, binary frames out. What is sent is awaited, so that nobody queues more than one
 * page; and a peer that does not take its answers is not listened to meanwhile, so that it cannot pile them up.
 */
export class Channel {
  readonly #socket: WebSocket;
  readonly #gone = new AbortController();
  /** Frames that the kernel has not taken. */
  #untaken = 0;
  /** When the first ping was sent that has no pong yet. */
  #pingedAt: number | undefined;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('pong', () => (this.#pingedAt = undefined));
    socket.on('close', () => this.#gone.abort());
    socket.on('error', () => undefined); // always followed by 'close', which says all that matters
  }

  /** Aborted when the socket is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  onText(listener: (text: string) => void): void {
    this.#socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.close(4400, 'the daemon takes text frames only');
      else listener(data.toString());
    });
  }

  /** Resolves when the kernel has taken it: to false when the socket is closing or gone. */
  send(frame: string | Uint8Array): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    if (++this.#untaken === maxUntaken) this.#socket.pause();
    this.#socket.send(frame, (error) => {
      if (this.#untaken-- === maxUntaken) this.#socket.resume();
      resolve(!error);
    });
    return promise;
  }

  /** Sends a ping, or gives the peer up that has not answered for `pongMs`. */
  ping(now: number, pongMs: number): void {
    this.#pingedAt ??= now;
    if (now - this.#pingedAt > pongMs) return this.close(4408, `no pong for ${pongMs} ms`);
    this.#socket.ping(undefined, undefined, () => undefined);
  }

  /** Closes in the protocol's way, and soon after without asking: a dead peer answers no closing frame. */
  close(code: CloseCode, reason: string): void {
    this.#socket.close(code, reason);
    const timer = setTimeout(() => this.#socket.terminate(), closeGraceMs);
    this.#gone.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }
}
