import type { WebSocket } from 'ws';
import type { closeCodes } from '../protocol/errors.ts';

export type CloseCode = keyof typeof closeCodes;

const closeGraceMs = 1_000;

/** One WebSocket: text frames in and out, binary frames out. What is sent is awaited, so that nobody queues more than one page. */
export class Channel {
  readonly #socket: WebSocket;
  readonly #gone = new AbortController();
  #pongAt: number;

  constructor(socket: WebSocket, now: number) {
    this.#socket = socket;
    this.#pongAt = now;
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

  /** Resolves when the kernel has taken it; rejects when the socket is gone. */
  send(frame: string | Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.send(frame, (error) => (error ? reject(error) : resolve()));
    return promise;
  }

  /** Sends a ping, or gives the peer up that has not answered for `pongMs`. */
  ping(now: number, pongMs: number): void {
    if (now - this.#pongAt > pongMs) return this.close(4408, `no pong for ${pongMs} ms`);
    this.#socket.ping(undefined, undefined, () => undefined);
  }

  onPong(clock: { now(): number }): void {
    this.#socket.on('pong', () => (this.#pongAt = clock.now()));
  }

  /** Closes in the protocol's way, and soon after without asking: a dead peer answers no closing frame. */
  close(code: CloseCode, reason: string): void {
    this.#socket.close(code, reason);
    const timer = setTimeout(() => this.#socket.terminate(), closeGraceMs);
    this.#gone.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }
}
