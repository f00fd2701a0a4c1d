import type { Hosts } from '../pty-host/hosts.ts';
import type { TerminalStatus } from '../pty-host/protocol.ts';
import { readTerminalRecord, sweepLost } from '../pty-host/terminal-record.ts';
import type { TurnExit } from './ending.ts';

interface ExitWatchOptions {
  readonly hosts: Hosts;
  readonly stateDir: string;
  readonly terminalId: string;
  readonly hostId: string | null;
  readonly graceMs: number;
  readonly onExit: () => void;
  readonly onFault: (error: unknown) => void;
}

/** Learns of a terminal's exit however it comes: told by its host, found in the list or on disk, or never, because the host died. */
export class ExitWatch implements Disposable {
  readonly #options: ExitWatchOptions;
  readonly #subscriptions = new DisposableStack();
  #exit: TurnExit | undefined;

  private constructor(options: ExitWatchOptions) {
    this.#options = options;
    const { hosts, terminalId, hostId, onFault } = options;
    this.#subscriptions.use(hosts.onExit((status) => status.id === terminalId && this.#see(status)));
    this.#subscriptions.use(hosts.onLost((lostId) => lostId === hostId && void this.#lose().catch(onFault)));
  }

  static async open(options: ExitWatchOptions): Promise<ExitWatch> {
    const watch = new ExitWatch(options);
    const known = options.hosts.terminals().find(({ id }) => id === options.terminalId);
    if (known) watch.#see(known);
    else if (options.hostId === null || !options.hosts.byId(options.hostId)) await watch.#lose();
    return watch;
  }

  get exit(): TurnExit | undefined {
    return this.#exit;
  }

  #see({ exit }: Pick<TerminalStatus, 'exit'>): void {
    if (exit) this.#set({ kind: 'exit', exit });
  }

  /** What a dead host wrote counts; what it left is ended. */
  async #lose(): Promise<void> {
    const { stateDir, terminalId, graceMs } = this.#options;
    const record = await readTerminalRecord(stateDir, terminalId);
    if (record?.exit) return this.#see(record);
    const swept = record ? await sweepLost(record, { graceMs }) : { ended: 0 };
    this.#set({ kind: 'lost', swept: swept.ended });
  }

  #set(exit: TurnExit): void {
    this.#exit ??= exit;
    this.#options.onExit();
  }

  [Symbol.dispose](): void {
    this.#subscriptions.dispose();
  }
}
