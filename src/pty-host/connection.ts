import type { Socket } from 'node:net';
import { encodeFrame, maxFrameBytes, readFrames } from './frames.ts';
import type { Host } from './host.ts';
import { HostError } from './host-error.ts';
import { PROTOCOL, type HostHello, type HostMessage, type HostMethods } from './protocol.ts';
import { parseEndRequest, parseId, parseSpawnRequest, record } from './spawn-request.ts';

type Handlers = {
  [M in Exclude<keyof HostMethods, 'hello'>]: (params: unknown) => Promise<HostMethods[M]['result']>;
};

const maxInFlight = 256;

/** One daemon's connection. It may die at any time and takes nothing with it. */
export class Connection {
  readonly #socket: Socket;
  readonly #hello: HostHello;
  readonly #handlers: Handlers;
  #isGreeted = false;

  constructor(socket: Socket, host: Host, hello: HostHello) {
    this.#socket = socket;
    this.#hello = hello;
    this.#handlers = {
      spawn: (params) => host.spawn(parseSpawnRequest(params)),
      list: async () => ({ terminals: await host.list() }),
      end: async (params) => done(await host.end(parseEndRequest(params))),
      forget: async (params) => done(await host.forget(parseId(record(params, 'params')['id']))),
      stop: async () => done(host.leave()),
    };
  }

  /** Serves until the peer is gone or sends what is no frame. */
  async serve(): Promise<void> {
    const inFlight = new Set<Promise<void>>();
    try {
      for await (const message of readFrames(this.#socket)) {
        const answer = this.#answer(message).finally(() => inFlight.delete(answer));
        inFlight.add(answer);
        if (!this.#isGreeted) await answer;
        if (inFlight.size >= maxInFlight) await Promise.race(inFlight);
      }
      await Promise.all(inFlight);
      this.#socket.end();
    } catch (error) {
      // The peer broke off, or its bytes mean nothing from here on: it is told, if it still listens.
      if (error instanceof HostError) this.send({ id: null, error: { code: error.code, message: error.message } });
      this.#socket.destroySoon();
    }
  }

  /** To a daemon that has said hello. */
  notify(message: HostMessage): void {
    if (this.#isGreeted) this.send(message);
  }

  send(message: HostMessage): void {
    if (!this.#socket.writable) return;
    // Nobody reads: the daemon hangs. It connects anew when it comes to itself, and asks for the list.
    if (this.#socket.writableLength > maxFrameBytes) this.#socket.destroy();
    else this.#socket.write(encodeFrame(message));
  }

  /** Never rejects. */
  async #answer(message: unknown): Promise<void> {
    const id = idOf(message);
    try {
      if (id === null) throw new HostError('bad_request', 'A request needs a whole number as its id');
      const { method, params = {} } = record(message, 'request');
      this.send({ id, result: await this.#call(method, params) });
    } catch (error) {
      this.send({ id, error: toWire(error) });
    }
  }

  async #call(method: unknown, params: unknown): Promise<unknown> {
    if (method === 'hello') return this.#greet(record(params, 'params')['protocol']);
    if (!this.#isGreeted) throw new HostError('bad_request', 'The first request must be hello');
    if (typeof method === 'string' && Object.hasOwn(this.#handlers, method)) {
      return this.#handlers[method as keyof Handlers](params); // just looked up
    }
    throw new HostError('unknown_method', `There is no method ${JSON.stringify(method)}`);
  }

  #greet(protocol: unknown): HostHello {
    if (protocol !== PROTOCOL) {
      const message = `This host speaks protocol ${PROTOCOL}, not ${JSON.stringify(protocol)}`;
      throw new HostError('unsupported_protocol', message);
    }
    this.#isGreeted = true;
    return this.#hello;
  }
}

function done(_: void): Record<string, never> {
  return {};
}

function idOf(message: unknown): number | null {
  const id = typeof message === 'object' && message !== null && 'id' in message ? message.id : null;
  return typeof id === 'number' && Number.isSafeInteger(id) ? id : null;
}

function toWire(error: unknown): { code: string; message: string; data?: unknown } {
  if (!(error instanceof HostError))
    return { code: 'internal', message: error instanceof Error ? error.message : String(error) };
  return { code: error.code, message: error.message, ...(error.data === undefined ? {} : { data: error.data }) };
}
