import type { StoredEvent } from '../protocol/events.ts';
import type { MethodName, ParamsIn, Result } from '../protocol/methods.ts';
import { Connection, type Address } from './connection.ts';
import { readEvents, type EventsOptions } from './events.ts';

/** A daemon, as a peer sees it. A call after a lost connection opens another; one that was in flight fails. */
export class Client implements AsyncDisposable {
  readonly #address: Address;
  #connection: Promise<Connection> | undefined;

  constructor(address: Address, connection: Connection) {
    this.#address = address;
    void this.#keep(Promise.resolve(connection));
  }

  async call<M extends MethodName>(method: M, params: ParamsIn<M>, signal?: AbortSignal): Promise<Result<M>> {
    return (await this.#opened()).call(method, params, signal);
  }

  /** Bytes of a terminal's journal. */
  async readTerminal(
    params: ParamsIn<'terminal.read'>,
    signal?: AbortSignal,
  ): Promise<Result<'terminal.read'> & { readonly data: Uint8Array }> {
    return (await this.#opened()).readTerminal(params, signal);
  }

  events(options: EventsOptions): AsyncGenerator<StoredEvent, void> {
    return readEvents(this.#address, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const connection = await this.#connection?.catch(() => undefined); // never opened: nothing to close
    await connection?.[Symbol.asyncDispose]();
  }

  #opened(): Promise<Connection> {
    return this.#connection ?? this.#keep(Connection.open(this.#address));
  }

  #keep(opening: Promise<Connection>): Promise<Connection> {
    this.#connection = opening;
    const forget = (): void => {
      if (this.#connection === opening) this.#connection = undefined;
    };
    void opening.then(({ closed }) => closed).then(forget, forget);
    return opening;
  }
}

export interface ConnectOptions extends Address {
  readonly signal?: AbortSignal;
}

/** Connects to the daemon at `url`; a `daemon_unreachable` says why it could not. */
export async function connect({ signal, ...address }: ConnectOptions): Promise<Client> {
  return new Client(address, await Connection.open(address, signal));
}
