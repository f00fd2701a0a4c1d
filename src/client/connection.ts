import { WebSocket, type RawData } from 'ws';
import { z } from 'zod';
import { errnoOf } from '../base/files.ts';
import { decodeTerminalFrame, type TerminalFrame } from '../protocol/binary-frame.ts';
import { closeCodes, DaemonError, errorKinds, type ErrorCode } from '../protocol/errors.ts';
import { methods, subprotocol, type MethodName, type ParamsIn, type Result } from '../protocol/methods.ts';

export interface Address {
  /** `ws://127.0.0.1:7433`, or the same with http; the path is added when there is none. */
  readonly url: string;
  readonly token: string;
}

export interface Notification {
  readonly method: string;
  readonly params: unknown;
}

export interface Closed {
  readonly code: number;
  /** What went wrong, as an error to throw; `data.retry` says whether coming back may help. */
  readonly error: DaemonError;
}

const Message = z.object({
  id: z.number().nullable().optional(),
  method: z.string().optional(),
  params: z.unknown().optional(),
  result: z.unknown().optional(),
  error: z.object({ message: z.string(), data: z.looseObject({ code: z.string() }).optional() }).optional(),
});
type Message = z.infer<typeof Message>;

interface Pending {
  resolve(message: Message): void;
  reject(error: DaemonError): void;
}

/** One socket to a daemon. It is not used again once it is closed. */
export class Connection implements AsyncDisposable {
  readonly closed: Promise<Closed>;
  onNotification: (notification: Notification) => void = () => undefined;
  readonly #socket: WebSocket;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  /** A terminal's bytes come just before the answer that they belong to. */
  #frame: TerminalFrame | undefined;

  static async open({ url, token }: Address, signal?: AbortSignal): Promise<Connection> {
    signal?.throwIfAborted();
    const socket = new WebSocket(rpcUrl(url), subprotocol, {
      headers: { authorization: `Bearer ${token}` },
      perMessageDeflate: false,
    });
    const connection = new Connection(socket, url);
    const abort = (): void => socket.terminate();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('open', () => resolve());
        void connection.closed.then(({ error }) => reject(error)); // never rejects
      });
      return connection;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  private constructor(socket: WebSocket, url: string) {
    this.#socket = socket;
    this.closed = closing(socket, url).then((closed) => {
      for (const pending of this.#pending.values()) pending.reject(closed.error);
      this.#pending.clear();
      return closed;
    });
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
  }

  /** Calls a method; an abort is told to the daemon, whose answer then is `request_cancelled`. */
  async call<M extends MethodName>(method: M, params: ParamsIn<M>, signal?: AbortSignal): Promise<Result<M>> {
    return (await this.#request(method, params, signal)).result;
  }

  async readTerminal(
    params: ParamsIn<'terminal.read'>,
    signal?: AbortSignal,
  ): Promise<Result<'terminal.read'> & { readonly data: Uint8Array }> {
    const { result, frame } = await this.#request('terminal.read', params, signal);
    if (result.bytes === 0) return { ...result, data: new Uint8Array() };
    if (
      frame?.terminalId === params.terminalId &&
      frame.offset === result.offset &&
      frame.bytes.length === result.bytes
    ) {
      return { ...result, data: frame.bytes };
    }
    throw new DaemonError('internal', 'the daemon sent the answer to terminal.read without its bytes');
  }

  /** Takes no more from the socket until `resume`; the daemon then waits too. */
  pause(): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.pause();
  }

  resume(): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume(); // a paused socket would not see its peer's close frame
    this.#socket.close();
    const timer = setTimeout(() => this.#socket.terminate(), 1_000);
    await this.closed;
    clearTimeout(timer);
  }

  async #request<M extends MethodName>(method: M, params: ParamsIn<M>, signal?: AbortSignal) {
    signal?.throwIfAborted();
    if (this.#socket.readyState !== WebSocket.OPEN) throw (await this.closed).error;
    const id = ++this.#lastId;
    const cancel = (): void => this.#send({ method: '$/cancel', params: { id } });
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await new Promise<{ result: Result<M>; frame: TerminalFrame | undefined }>((resolve, reject) => {
        this.#pending.set(id, {
          reject,
          resolve: ({ result, error }) => {
            if (error) return reject(errorOf(error));
            const frame = this.#frame;
            this.#frame = undefined;
            const parsed = methods[method].result.safeParse(result);
            // The schema of this method's own line; TypeScript cannot follow the table through a type parameter.
            if (parsed.success) resolve({ result: parsed.data as Result<M>, frame });
            else
              reject(
                new DaemonError(
                  'internal',
                  `the daemon answered ${method} with something else: ${z.prettifyError(parsed.error)}`,
                ),
              );
          },
        });
        this.#send({ id, method, params });
      });
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  #send(message: object): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ jsonrpc: '2.0', ...message }));
  }

  #receive(data: RawData, isBinary: boolean): void {
    try {
      const bytes = data as Buffer; // binaryType is nodebuffer
      if (isBinary) this.#frame = decodeTerminalFrame(bytes);
      else this.#take(Message.parse(JSON.parse(bytes.toString())));
    } catch {
      this.#socket.close(4400, 'what it sent is not harness.v1');
    }
  }

  #take(message: Message): void {
    if (message.method !== undefined) return this.onNotification({ method: message.method, params: message.params });
    const pending = this.#pending.get(message.id ?? 0);
    this.#pending.delete(message.id ?? 0);
    pending?.resolve(message);
  }
}

function rpcUrl(url: string): URL {
  try {
    const parsed = new URL(url.replace(/^http/, 'ws'));
    if (parsed.pathname === '/') parsed.pathname = '/v1/rpc';
    return parsed;
  } catch (cause) {
    throw new DaemonError('daemon_unreachable', `not the address of a daemon: ${url}`, { cause });
  }
}

function errorOf({ message, data }: NonNullable<Message['error']>): DaemonError {
  const code = data?.code !== undefined && data.code in errorKinds ? (data.code as ErrorCode) : 'internal';
  return new DaemonError(code, message, { data: data ?? {} });
}

/** Waits for the socket's end, and puts it in words. */
function closing(socket: WebSocket, url: string): Promise<Closed> {
  return new Promise((resolve) => {
    let refused: { message: string; retry: boolean; cause?: unknown } | undefined;
    socket.on('unexpected-response', (_request, response) => {
      const status = response.statusCode ?? 0;
      let words = '';
      response.setEncoding('utf8').on('data', (text: string) => (words += text.slice(0, 200)));
      response.on('close', () => {
        refused = {
          message: `${url} answers ${status}: ${words.trim() || 'not as a daemon'}`,
          retry: status === 429 || status >= 500,
        };
        socket.terminate();
      });
    });
    socket.on('error', (cause) => {
      refused ??= { message: `no daemon answers at ${url}: ${cause.message || errnoOf(cause)}`, retry: true, cause };
    });
    socket.on('close', (code, reason) => {
      const known = code in closeCodes ? closeCodes[code as keyof typeof closeCodes] : undefined;
      const words = reason.toString() || known?.summary || 'connection lost';
      const closed = {
        message: `the daemon at ${url} closed the connection (${code}): ${words}`,
        retry: known?.retry ?? true,
      };
      const { message, retry, cause } = refused ?? { ...closed, cause: undefined };
      resolve({
        code,
        error: new DaemonError('daemon_unreachable', message, { cause, data: { retry, closeCode: code } }),
      });
    });
  });
}
