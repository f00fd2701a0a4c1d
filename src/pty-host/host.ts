import { HostError } from './host-error.ts';
import { isHostAlive, readHostRecord } from './host-files.ts';
import type { EndRequest, SpawnRequest, TerminalStatus } from './protocol.ts';
import { startError } from './start-error.ts';
import { Terminal, type TerminalContext } from './terminal.ts';
import { hashArgv, readTerminalRecord, statusOf } from './terminal-record.ts';

interface Entry {
  readonly argvHash: string;
  readonly started: Promise<Run>;
}

/** One that runs; or, once it has ended, only how: found on disk when another host ran it, or this one before `forget`. */
type Run = Terminal | { readonly status: TerminalStatus };

/** The terminals of this process: each id is started once, whatever is asked how often. */
export class Host {
  readonly #context: TerminalContext;
  readonly #entries = new Map<string, Entry>();
  #isLeaving = false;
  /** Called with each terminal that ended, after its exit is on disk. */
  onExited: (status: TerminalStatus) => void = () => {};
  /** Called when `liveCount` or `isLeaving` has changed. */
  onChange: () => void = () => {};
  /** Terminals that run, are about to start, or have not been swept yet. */
  liveCount = 0;

  constructor(context: TerminalContext) {
    this.#context = context;
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  async spawn(request: SpawnRequest): Promise<TerminalStatus> {
    const { id } = request;
    const argvHash = hashArgv(request.argv);
    const known = this.#entries.get(id);
    if (known) {
      if (known.argvHash !== argvHash) throw conflict(id);
      return (await known.started).status;
    }
    if (this.#isLeaving) throw new HostError('leaving', 'This host was told to leave and starts nothing new');
    // The entry is there before anything is awaited, so that a second request finds it. One that failed may be tried again.
    const entry = { argvHash, started: this.#start(request, argvHash) };
    this.#entries.set(id, entry);
    let isRunning = false;
    try {
      const run = await entry.started;
      isRunning = run instanceof Terminal;
      return run.status;
    } finally {
      if (!isRunning) this.#entries.delete(id);
    }
  }

  async list(): Promise<TerminalStatus[]> {
    const runs = await Promise.allSettled([...this.#entries.values()].map((entry) => entry.started));
    return runs.flatMap((run) => (run.status === 'fulfilled' ? run.value.status : []));
  }

  async end({ id, ...how }: EndRequest): Promise<void> {
    const run = await this.#find(id);
    if (run instanceof Terminal) void run.end(how); // never rejects; the exit tells
  }

  async forget(id: string): Promise<void> {
    const run = await this.#find(id);
    if (!run.status.exit) throw new HostError('still_running', `The terminal ${id} has not ended`);
    this.#entries.delete(id);
  }

  leave(): void {
    this.#isLeaving = true;
    this.onChange();
  }

  async #find(id: string): Promise<Run> {
    const run = await this.#entries.get(id)?.started.catch(() => undefined);
    if (run) return run;
    throw new HostError('not_found', `There is no terminal ${id} here`);
  }

  async #start(request: SpawnRequest, argvHash: string): Promise<Run> {
    this.#count(1);
    let isRunning = false;
    try {
      const before = await this.#findEarlierRun(request.id, argvHash);
      if (before) return before;
      const terminal = await Terminal.start(request, this.#context);
      isRunning = true;
      const { pid, cgroup } = terminal.status;
      this.#context.log('terminal started', { id: request.id, pid, cgroup });
      void this.#follow(terminal); // `exited` never rejects
      return terminal;
    } catch (error) {
      throw startError(error);
    } finally {
      if (!isRunning) this.#count(-1);
    }
  }

  async #follow(terminal: Terminal): Promise<void> {
    const status = await terminal.exited;
    this.#context.log('terminal ended', { id: status.id, ...status.exit });
    this.#entries.set(status.id, { argvHash: status.argvHash, started: Promise.resolve({ status }) });
    this.onExited(status);
    this.#count(-1);
  }

  #count(change: number): void {
    this.liveCount += change;
    this.onChange();
  }

  /** The disk remembers what another host, or this one before it was told to forget, has started. */
  async #findEarlierRun(id: string, argvHash: string): Promise<Run | null> {
    const record = await readTerminalRecord(this.#context.stateDir, id);
    if (!record) return null;
    if (record.spawn.argvHash !== argvHash) throw conflict(id, record);
    if (record.exit) return { status: statusOf(record) };
    const { hostId } = record.spawn;
    const other = hostId === this.#context.hostId ? null : await readHostRecord(this.#context.stateDir, hostId);
    if (other && (await isHostAlive(other))) {
      throw new HostError('other_host', `The terminal ${id} belongs to the host ${hostId}`, { data: record });
    }
    throw new HostError('host_lost', `The terminal ${id} was started by the host ${hostId}, which died`, {
      data: record,
    });
  }
}

function conflict(id: string, data?: unknown): HostError {
  return new HostError('conflict', `The id ${id} was used for another command line`, { data });
}
