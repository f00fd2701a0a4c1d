import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { ProcessIdentity } from '../process/identity.ts';
import { encodeFrame, readFrames } from './frames.ts';
import { HostError, isHostErrorCode } from './host-error.ts';
import {
  PROTOCOL,
  type EndRequest,
  type HostHello,
  type HostMethod,
  type HostMethods,
  type SpawnRequest,
  type TerminalStatus,
  type WireError,
} from './protocol.ts';

export type ExitListener = (terminal: TerminalStatus & { readonly exit: NonNullable<TerminalStatus['exit']> }) => void;

/** A host that answers while it should say hello is as good as absent. */
const helloMs = 10_000;

/** Connects to the host on a socket and says hello. */
export async function connectHost(socketPath: string, options: { signal?: AbortSignal } = {}): Promise<HostClient> {
  const signal = AbortSignal.any([AbortSignal.timeout(helloMs), ...(options.signal ? [options.signal] : [])]);
  signal.throwIfAborted();
  const socket = connect(socketPath);
  try {
    await once(socket, 'connect', { signal });
    const connection = new Calls(socket);
    using _abort = onAbort(signal, () => socket.destroy());
    return new ConnectedClient(connection, await connection.call('hello', { protocol: PROTOCOL }));
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** What a daemon asks of a host. What was asked when a connection closes is rejected as `disconnected`: done or not. */
export interface HostClient extends AsyncDisposable {
  readonly hostId: string;
  readonly identity: ProcessIdentity;
  /** Resolves when nothing can be asked any more; that says nothing of the terminals. */
  readonly closed: Promise<void>;
  spawn(request: SpawnRequest): Promise<TerminalStatus>;
  list(): Promise<TerminalStatus[]>;
  end(request: EndRequest): Promise<void>;
  forget(id: string): Promise<void>;
  stop(): Promise<void>;
  /** Exits from now on; `list` knows the earlier ones. */
  onExit(listener: ExitListener): Disposable;
}

class ConnectedClient implements HostClient {
  readonly hello: HostHello;
  readonly closed: Promise<void>;
  readonly #calls: Calls;

  constructor(calls: Calls, hello: HostHello) {
    this.#calls = calls;
    this.hello = hello;
    this.closed = calls.closed;
  }

  get hostId(): string {
    return this.hello.hostId;
  }

  get identity(): ProcessIdentity {
    return { pid: this.hello.pid, startTime: this.hello.startTime };
  }

  spawn(request: SpawnRequest): Promise<TerminalStatus> {
    return this.#calls.call('spawn', request);
  }

  async list(): Promise<TerminalStatus[]> {
    return (await this.#calls.call('list', {})).terminals;
  }

  async end(request: EndRequest): Promise<void> {
    await this.#calls.call('end', request);
  }

  async forget(id: string): Promise<void> {
    await this.#calls.call('forget', { id });
  }

  async stop(): Promise<void> {
    await this.#calls.call('stop', {});
  }

  onExit(listener: ExitListener): Disposable {
    this.#calls.exitListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#calls.exitListeners.delete(listener) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#calls.close();
    await this.closed;
  }
}

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: HostError) => void;
}

/** Requests in flight on a socket. */
class Calls {
  readonly closed: Promise<void>;
  readonly exitListeners = new Set<ExitListener>();
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #isClosed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined); // `close` follows
    this.closed = this.#read();
  }

  async call<M extends HostMethod>(method: M, params: HostMethods[M]['params']): Promise<HostMethods[M]['result']> {
    if (this.#isClosed) throw disconnected();
    const id = this.#nextId++;
    const frame = encodeFrame({ id, method, params });
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    this.#socket.write(frame);
    return promise as Promise<HostMethods[M]['result']>; // the host's answers are trusted: it is our own program
  }

  close(): void {
    this.#socket.destroy();
  }

  async #read(): Promise<void> {
    let reason = disconnected();
    try {
      for await (const message of readFrames(this.#socket)) this.#receive(message as Incoming); // as above
    } catch (error) {
      if (error instanceof HostError) reason = error;
    }
    this.#socket.destroy();
    this.#isClosed = true;
    for (const { reject } of this.#waiting.values()) reject(reason);
    this.#waiting.clear();
  }

  #receive(message: Incoming): void {
    if ('method' in message) {
      for (const listener of this.exitListeners) listener(message.params);
    } else if ('error' in message) {
      if (message.id === null) throw errorOf(message.error); // the host gives this connection up, and says why
      this.#take(message.id)?.reject(errorOf(message.error));
    } else {
      this.#take(message.id)?.resolve(message.result);
    }
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }
}

type Incoming =
  | { readonly method: 'exited'; readonly params: Parameters<ExitListener>[0] }
  | { readonly id: number | null; readonly error: WireError }
  | { readonly id: number; readonly result: unknown };

function errorOf({ code, message, data }: WireError): HostError {
  return new HostError(isHostErrorCode(code) ? code : 'internal', message, { data });
}

function disconnected(): HostError {
  return new HostError('disconnected', 'The connection to the pty host closed before its answer');
}

function onAbort(signal: AbortSignal, listener: () => void): Disposable {
  signal.addEventListener('abort', listener, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', listener) };
}
