import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, type ProcessIdentity } from '../process/identity.ts';
import { connectHost, type ExitListener, type HostClient } from './client.ts';
import { HostError } from './host-error.ts';
import { hostSocketPath, readHostRecord, removeHostFiles } from './host-files.ts';
import type { EndRequest, HostRecord, SpawnRequest, TerminalStatus } from './protocol.ts';
import { readTerminalRecord } from './terminal-record.ts';

const firstRetryMs = 10;
const openMs = 5_000;
const maxRetryMs = 1000;

/** How a host ended: in order, with its record left behind, or only for us, who closed the link. */
export type HostEnding = 'left' | 'lost' | 'closed';

/** One host for as long as it lives: a dropped connection is made anew, and no exit is missed or told twice. */
export class HostLink implements HostClient {
  readonly record: HostRecord;
  readonly gone: Promise<HostEnding>;
  /** It was told to leave: it starts nothing new. */
  isRetired = false;
  readonly #stateDir: string;
  readonly #closing = new AbortController();
  readonly #terminals = new Map<string, TerminalStatus>();
  readonly #exitListeners = new Set<ExitListener>();
  #connected = newConnection();

  private constructor(stateDir: string, record: HostRecord) {
    this.#stateDir = stateDir;
    this.record = record;
    this.gone = this.#stayConnected();
  }

  /** Resolves when the host's terminals are known, or it is gone. */
  static async open(stateDir: string, record: HostRecord): Promise<HostLink> {
    const link = new HostLink(stateDir, record);
    const patience = sleep(openMs, undefined, { ref: false }); // one that is stopped may go on some time: its turns wait for it, nobody else
    await Promise.race([link.#connected.promise, link.gone, patience]);
    return link;
  }

  get hostId(): string {
    return this.record.id;
  }

  get identity(): ProcessIdentity {
    return { pid: this.record.pid, startTime: this.record.startTime };
  }

  get closed(): Promise<void> {
    return this.gone.then(() => undefined);
  }

  /** As last heard. */
  get terminals(): TerminalStatus[] {
    return [...this.#terminals.values()];
  }

  async spawn(request: SpawnRequest): Promise<TerminalStatus> {
    const client = await this.#connected.promise;
    const status = await client.spawn(request).catch((error: unknown) => {
      if (!(error instanceof HostError) || error.code !== 'leaving') throw error;
      this.isRetired = true; // it turned idle in between: as good as gone, and another one will do
      throw new HostError('disconnected', `The pty host ${this.hostId} is leaving`, { cause: error });
    });
    if (!this.#terminals.get(status.id)?.exit) this.#terminals.set(status.id, status);
    return status;
  }

  async list(): Promise<TerminalStatus[]> {
    return (await this.#connected.promise).list();
  }

  async end(request: EndRequest): Promise<void> {
    await (await this.#connected.promise).end(request);
  }

  async forget(id: string): Promise<void> {
    await (await this.#connected.promise).forget(id);
    this.#terminals.delete(id);
  }

  async stop(): Promise<void> {
    this.isRetired = true;
    await (await this.#connected.promise).stop();
  }

  onExit(listener: ExitListener): Disposable {
    this.#exitListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#exitListeners.delete(listener) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.gone;
  }

  async #stayConnected(): Promise<HostEnding> {
    for (;;) {
      const client = await this.#connect();
      if (client) {
        this.#connected.resolve(client);
        await client.closed;
        this.#connected = newConnection();
      }
      const ending = await this.#ending();
      if (ending === null) continue;
      this.#connected.reject(new HostError('disconnected', `The pty host ${this.hostId} is gone`));
      return ending;
    }
  }

  /** Null once the process is gone, or nobody wants the connection any more. */
  async #connect(): Promise<HostClient | null> {
    for (let retryMs = firstRetryMs; isAlive(this.record); retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      const client = await this.#tryToConnect().catch(() => null); // it is busy, or dying: the loop finds out
      if (client) return client;
      await sleep(retryMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      if (this.#closing.signal.aborted) return null;
    }
    return null;
  }

  async #tryToConnect(): Promise<HostClient> {
    const { signal } = this.#closing;
    const client = await connectHost(hostSocketPath(this.#stateDir, this.hostId), { signal });
    const close = (): void => void client[Symbol.asyncDispose](); // cannot fail
    signal.addEventListener('abort', close, { once: true });
    void client.closed.then(() => signal.removeEventListener('abort', close));
    if (signal.aborted) close();
    client.onExit((terminal) => this.#note(terminal));
    for (const terminal of await client.list()) this.#note(terminal);
    return client;
  }

  /** What is found at the first connection is told too: one that came late has listeners already. */
  #note(terminal: TerminalStatus): void {
    const { exit } = terminal;
    const isKnown = Boolean(this.#terminals.get(terminal.id)?.exit);
    this.#terminals.set(terminal.id, terminal);
    if (exit && !isKnown) this.#exitListeners.forEach((listener) => listener({ ...terminal, exit }));
  }

  /** Null while the host lives. What it wrote last, when nobody was connected, counts as told by it. */
  async #ending(): Promise<HostEnding | null> {
    if (this.#closing.signal.aborted) return 'closed';
    if (isAlive(this.record)) return null;
    for (const terminal of this.terminals.filter((known) => !known.exit)) {
      const record = await readTerminalRecord(this.#stateDir, terminal.id).catch(() => null); // who reads it next may fare better
      if (record?.exit) this.#note({ ...terminal, exit: record.exit });
    }
    // A host that leaves removes its record first; one that died cannot.
    if (!(await readHostRecord(this.#stateDir, this.hostId))) return 'left';
    await removeHostFiles(this.#stateDir, this.hostId);
    return 'lost';
  }
}

/** A place for the next connection. Those who wait for it hear of its failure; when none waits, nobody needs to. */
function newConnection(): PromiseWithResolvers<HostClient> {
  const connection = Promise.withResolvers<HostClient>();
  connection.promise.catch(() => undefined);
  return connection;
}
