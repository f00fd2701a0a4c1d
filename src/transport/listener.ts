import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import type { Clock } from '../base/clock.ts';
import { errnoOf } from '../base/files.ts';
import { DaemonError } from '../protocol/errors.ts';
import { subprotocol } from '../protocol/methods.ts';
import { Channel, type CloseCode } from './channel.ts';

/** Imported, node:http would load all of fetch for the sake of one of its exports: 30 ms of every start, and 10 MiB. */
const { createServer } = process.getBuiltinModule('node:http');

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  readonly limits: {
    readonly frameBytes: number;
    readonly peers: number;
    readonly pingMs: number;
    readonly pongMs: number;
    readonly handshakeMs: number;
  };
  readonly clock: Clock;
  /** Whether the Authorization header carries a valid token. */
  readonly isAuthorized: (authorization: string | undefined) => boolean;
  /** The state of the daemon; the components are shown to whoever has a token. */
  readonly readiness: () => { readonly ready: boolean; readonly components: object };
  readonly onChannel: (channel: Channel) => void;
  /** Answers what comes to `/mcp`. */
  readonly onMcp: (request: IncomingMessage, response: ServerResponse) => void;
}

/** Connections beside those of `limits.peers`: probes, and who is about to be refused. */
const unauthorizedPeers = 64;

/** The HTTP and WebSocket door. Every request's Host and Origin are looked at first: a web page gets nothing. */
export class Listener implements AsyncDisposable {
  readonly #options: ListenerOptions;
  readonly #http: Server;
  readonly #sockets: WebSocketServer;
  readonly #refusals: WebSocketServer;
  readonly #channels = new Set<Channel>();
  readonly #pings: NodeJS.Timeout;
  #hosts = new Set<string>();

  private constructor(options: ListenerOptions) {
    this.#options = options;
    const { limits } = options;
    this.#http = createServer({
      headersTimeout: limits.handshakeMs,
      requestTimeout: limits.handshakeMs,
      connectionsCheckingInterval: limits.handshakeMs,
    });
    this.#http.on('request', (request, response) => this.#answer(request, response));
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    const upgrade = {
      noServer: true,
      perMessageDeflate: false,
      handleProtocols: (offered: Set<string>) => (offered.has(subprotocol) ? subprotocol : (false as const)),
    };
    this.#sockets = new WebSocketServer({ ...upgrade, maxPayload: limits.frameBytes });
    this.#refusals = new WebSocketServer({ ...upgrade, maxPayload: 128 });
    this.#http.maxConnections = limits.peers + unauthorizedPeers;
    this.#pings = setInterval(() => this.#ping(), limits.pingMs);
  }

  static async open(options: ListenerOptions): Promise<Listener> {
    const listener = new Listener(options);
    try {
      await listener.#listen();
    } catch (error) {
      clearInterval(listener.#pings);
      if (errnoOf(error) !== 'EADDRINUSE') throw error;
      throw new DaemonError(
        'port_in_use',
        `${options.host}:${options.port} is in use by another program: set listen.port to another, or 0 for any`,
        { cause: error },
      );
    }
    return listener;
  }

  async #listen(): Promise<void> {
    const { host, port, allowedHosts } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#http.once('error', reject);
    this.#http.listen({ host, port }, resolve);
    await promise;
    this.#http.removeListener('error', reject);
    const names = new Set([host.includes(':') ? `[${host}]` : host, 'localhost', '127.0.0.1', '[::1]']);
    const own = [...names].map((name) => `${name}:${this.port}`);
    this.#hosts = new Set([...own, ...allowedHosts].map((name) => name.toLowerCase()));
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port; // listening on TCP, so it has one
  }

  get url(): string {
    const { host } = this.#options;
    return `ws://${host.includes(':') ? `[${host}]` : host}:${this.port}/v1/rpc`;
  }

  #refusal({ headers }: IncomingMessage): string | undefined {
    if (!this.#hosts.has(headers.host?.toLowerCase() ?? '')) return 'this Host is not answered (listen.allowedHosts)';
    if (headers.origin !== undefined && !this.#options.allowedOrigins.includes(headers.origin)) {
      return 'this Origin may not connect (listen.allowedOrigins)';
    }
    return undefined;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const reply = (status: number, body: object): void => {
      const text = `${JSON.stringify(body)}\n`;
      response
        .writeHead(status, {
          'content-type': 'application/json',
          'cache-control': 'no-store',
          'content-length': Buffer.byteLength(text),
        })
        .end(text);
    };
    const refusal = this.#refusal(request);
    if (refusal) return reply(403, { error: refusal });
    const path = request.url?.split('?', 1)[0];
    if (path === '/mcp') return this.#options.onMcp(request, response);
    if (path === '/v1/rpc') return reply(426, { error: `connect with a WebSocket, subprotocol ${subprotocol}` });
    if (path !== '/healthz' && path !== '/readyz') return reply(404, { error: 'no such path' });
    if (request.method !== 'GET' && request.method !== 'HEAD') return reply(405, { error: 'only GET' });
    if (path === '/healthz') return reply(200, { status: 'alive' });
    const { authorization } = request.headers;
    if (authorization !== undefined && !this.#options.isAuthorized(authorization))
      return reply(401, { error: 'no valid token' });
    const { ready, components } = this.#options.readiness();
    const status = ready ? 'ready' : 'unready';
    reply(ready ? 200 : 503, authorization === undefined ? { status } : { status, components });
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refuse = (status: string, message: string): void => {
      socket.once('finish', () => socket.destroy()); // whether the peer closes its end or not
      socket.end(
        `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
      );
    };
    /** A browser learns a reason only from a closing frame; to hear it, nothing larger may be sent. */
    const close = (code: CloseCode, reason: string): void =>
      this.#refusals.handleUpgrade(request, socket, head, (webSocket) => new Channel(webSocket).close(code, reason));
    socket.on('error', () => socket.destroy());
    if (!this.#http.listening) return refuse('503 Service Unavailable', 'the daemon is stopping: come back');
    const refusal = this.#refusal(request);
    if (refusal) return refuse('403 Forbidden', refusal);
    if (request.url?.split('?', 1)[0] !== '/v1/rpc') return refuse('404 Not Found', 'no such path');
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? [];
    if (!offered.includes(subprotocol)) return refuse('400 Bad Request', `offer the subprotocol ${subprotocol}`);
    if (!this.#options.isAuthorized(request.headers.authorization)) return close(4401, 'no valid token');
    if (this.#channels.size >= this.#options.limits.peers) return close(4429, 'too many connections (limits.peers)');
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const channel = new Channel(webSocket);
      this.#channels.add(channel);
      channel.gone.addEventListener('abort', () => this.#channels.delete(channel), { once: true });
      this.#options.onChannel(channel);
    });
  }

  #ping(): void {
    const now = this.#options.clock.now();
    for (const channel of this.#channels) channel.ping(now, this.#options.limits.pongMs);
  }

  /** Tells every peer to come back, and waits until all are gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#pings);
    const gone = [...this.#channels].map(
      (channel) =>
        new Promise<void>((resolve) => channel.gone.addEventListener('abort', () => resolve(), { once: true })),
    );
    for (const channel of this.#channels) channel.close(1012, 'the daemon is stopping: come back');
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    await Promise.all(gone);
    this.#http.closeAllConnections();
    await closed;
  }
}
