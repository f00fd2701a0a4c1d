import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { WebSocket, type ClientOptions } from 'ws';
import type { StoredEvent } from '../../src/protocol/events.ts';
import type { TestDaemon } from './daemon.ts';

/** What the daemon sends, as it is on the wire. */
export interface Frame {
  readonly jsonrpc?: string;
  readonly id?: number | string | null;
  readonly method?: string;
  readonly params?: { readonly subscription: string; readonly events: StoredEvent[] };
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data: Record<string, unknown> };
}

interface PeerOptions {
  /** null: none. */
  readonly authorization?: string | null;
  readonly protocols?: string[];
  readonly path?: string;
  readonly socket?: ClientOptions;
}

/** A bare WebSocket that keeps all it is sent, in order. */
export class Peer implements AsyncDisposable {
  readonly socket: WebSocket;
  readonly frames: (Frame | Buffer)[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #waiting = new Set<() => void>();
  #lastId = 0;

  constructor(socket: WebSocket) {
    this.socket = socket;
    this.closed = new Promise((resolve) =>
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    );
    socket.on('error', () => undefined); // 'close' follows
    socket.on('message', (data: Buffer, isBinary) => {
      this.frames.push(isBinary ? data : (JSON.parse(data.toString()) as Frame));
      for (const look of this.#waiting) look();
    });
  }

  /** All events told so far, of all subscriptions. */
  get events(): StoredEvent[] {
    return this.frames.flatMap((frame) =>
      Buffer.isBuffer(frame) || frame.method !== 'events' ? [] : frame.params!.events,
    );
  }

  send(message: string | Buffer | object): void {
    this.socket.send(typeof message === 'string' || message instanceof Buffer ? message : JSON.stringify(message));
  }

  /** Resolves with what `find` finds in what came, now or later. */
  async find<T>(find: () => T | undefined): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<T>();
    const look = (): void => {
      const found = find();
      if (found !== undefined) resolve(found);
    };
    this.#waiting.add(look);
    look();
    const gone = this.closed.then(({ code, reason }): never => {
      throw new Error(`closed ${code} ${reason}`);
    });
    try {
      return await Promise.race([promise, gone]);
    } finally {
      this.#waiting.delete(look);
    }
  }

  answer(id: number | string | null): Promise<Frame> {
    return this.find(() =>
      this.frames.find((frame): frame is Frame => !Buffer.isBuffer(frame) && frame.id === id && !frame.method),
    );
  }

  request(method: string, params?: unknown): Promise<Frame> {
    const id = ++this.#lastId;
    this.send({ jsonrpc: '2.0', id, method, params });
    return this.answer(id);
  }

  async call(method: string, params?: unknown): Promise<Record<string, unknown>> {
    const { result, error } = await this.request(method, params);
    if (!result) throw new Error(`${method}: ${error!.message}`);
    return result;
  }

  /** The code of the error that it must be, and where it says that the fault is. */
  async refusal(method: string, params?: unknown): Promise<{ code: unknown; paths: string[] }> {
    const { error } = await this.request(method, params);
    const issues = (error?.data['issues'] ?? []) as { path: string }[];
    return { code: error?.data['code'], paths: issues.map(({ path }) => path) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate();
    await this.closed;
  }
}

/** Connects, and waits until the socket is open. */
export async function openPeer(daemon: TestDaemon, options: PeerOptions = {}): Promise<Peer> {
  const { url, token } = await daemon.address();
  const { authorization = `Bearer ${token}`, protocols = ['harness.v1'], path = '', socket = {} } = options;
  const webSocket = new WebSocket(url + path, protocols, {
    perMessageDeflate: false,
    ...socket,
    headers: { ...(authorization !== null && { authorization }), ...socket.headers },
  });
  const peer = new Peer(webSocket);
  await once(webSocket, 'open');
  return peer;
}

/** Whether a request is answered or refused over plain HTTP, with any header. */
export async function http(
  daemon: TestDaemon,
  path: string,
  init: { method?: string; headers?: Record<string, string> } = {},
) {
  const { url } = await daemon.address();
  const sent = httpRequest({ host: '127.0.0.1', port: new URL(url).port, path, ...init });
  sent.end();
  const event = await Promise.race([once(sent, 'response'), once(sent, 'upgrade')]);
  const response = event[0] as IncomingMessage;
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk as string;
  return { status: response.statusCode, body };
}
