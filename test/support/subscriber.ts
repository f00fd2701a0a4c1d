import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { StoredEvent } from '../../src/protocol/events.ts';
import type { TestDaemon } from './daemon.ts';

/** A peer that keeps what it is sent, as it comes, and comes back with its last id whenever the daemon is gone. */
export class Subscriber implements AsyncDisposable {
  readonly events: StoredEvent[] = [];
  readonly #daemon: TestDaemon;
  readonly #done = new AbortController();
  readonly #running: Promise<void>;
  #waiting: { isEnough: (events: StoredEvent[]) => boolean; resolve: () => void }[] = [];

  constructor(daemon: TestDaemon) {
    this.#daemon = daemon;
    this.#running = this.#run();
  }

  /** Resolves when the events so far are enough. */
  async until(isEnough: (events: StoredEvent[]) => boolean): Promise<void> {
    if (isEnough(this.events)) return;
    await new Promise<void>((resolve) => this.#waiting.push({ isEnough, resolve }));
  }

  async #run(): Promise<void> {
    while (!this.#done.signal.aborted) {
      await this.#once().catch(() => undefined); // the daemon is gone: come back
      await sleep(10);
    }
  }

  async #once(): Promise<void> {
    const { url, token } = await this.#daemon.address();
    const socket = new WebSocket(url, 'harness.v1', { headers: { authorization: `Bearer ${token}` } });
    const closed = new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.on('error', () => resolve());
    });
    this.#done.signal.addEventListener('abort', () => socket.terminate());
    socket.on('open', () =>
      socket.send(
        JSON.stringify({
          jsonrpc: '2.0',
          id: 1,
          method: 'event.subscribe',
          params: { after: this.events.at(-1)?.id ?? 0 },
        }),
      ),
    );
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as { method?: string; params?: { events: StoredEvent[] } };
      if (message.method !== 'events') return;
      this.events.push(...message.params!.events);
      this.#waiting = this.#waiting.filter(({ isEnough, resolve }) => {
        const isMet = isEnough(this.events);
        if (isMet) resolve();
        return !isMet;
      });
    });
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#done.abort();
    await this.#running;
  }
}
