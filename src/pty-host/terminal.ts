import { setTimeout as sleep } from 'node:timers/promises';
import { isFileSystemFull } from '../base/files.ts';
import { Mask, StreamMask } from '../base/mask.ts';
import type { Containment } from '../process/containment.ts';
import type { Ended } from '../process/end-tree.ts';
import { identityOf } from '../process/identity.ts';
import type { ProcessTree } from '../process/tree.ts';
import type { Descriptors } from './descriptors.ts';
import { resizeArg } from './journal-format.ts';
import { JournalWriter, type JournalOptions } from './journal-writer.ts';
import { checkLaunch } from './launch.ts';
import { FORMAT, type EndRequest, type Exit, type SpawnRequest, type TerminalStatus } from './protocol.ts';
import { Pty, type PtyCommand } from './pty.ts';
import {
  hashArgv,
  journalDirectory,
  removeTerminal,
  statusOf,
  writeExitRecord,
  writePidRecord,
  writeSpawnRecord,
  type SpawnRecord,
} from './terminal-record.ts';

export interface TerminalContext {
  readonly stateDir: string;
  readonly hostId: string;
  readonly bootId: string;
  readonly containment: Containment;
  readonly descriptors: Descriptors;
  readonly journal: Partial<JournalOptions>;
  readonly log: (event: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** The program waits while more than the first waits for the disk, until less than the second does. */
const pauseBytes = 1024 * 1024;
const resumeBytes = 256 * 1024;
/** How long a tail that could begin a secret is held back. */
const holdMs = 50;
/** How long a terminal that a runaway process keeps open may be silent before it is hung up. */
const silenceMs = 500;

/** One program in a PTY: its journal, its process tree, its ending. All of it is on disk before anyone is told. */
export class Terminal {
  /** Resolves when nothing of it is left and its exit is on disk. */
  readonly exited: Promise<TerminalStatus>;
  readonly #context: TerminalContext;
  readonly #id: string;
  readonly #journal: JournalWriter;
  readonly #pty: Pty;
  readonly #tree: ProcessTree;
  readonly #mask: StreamMask | null;
  #status: TerminalStatus;
  #ending: Promise<Ended> | null = null;
  #holdTimer: NodeJS.Timeout | undefined;
  #isPaused = false;
  #lastOutput = 0;

  /** Starts it: intent on disk, fork, pid on disk. When it throws, nothing was left. */
  static async start(request: SpawnRequest, context: TerminalContext): Promise<Terminal> {
    const commandIn = await checkLaunch(request);
    const { id, marker, cwd, cols, rows, redirect = null } = request;
    const { stateDir, hostId, bootId, containment } = context;
    let tree: ProcessTree = { cgroup: null, leader: null, marker };
    try {
      tree = { ...tree, ...(await containment.prepare(id)) };
      const spawn: SpawnRecord = {
        format: FORMAT,
        id,
        hostId,
        bootId,
        argvHash: hashArgv(request.argv),
        marker,
        cgroup: tree.cgroup,
        cwd,
        cols,
        rows,
        redirect,
        startedAt: Date.now(),
        startedAtMonotonicNs: String(process.hrtime.bigint()),
      };
      await writeSpawnRecord(stateDir, spawn);
      await context.descriptors.settle();
      const terminal = new Terminal(request, context, spawn, commandIn(tree.cgroup));
      tree = terminal.#tree;
      await writePidRecord(stateDir, id, terminal.#tree.leader!); // the constructor set it
      return terminal;
    } catch (error) {
      await containment.end(tree, { graceMs: 0 });
      await removeTerminal(stateDir, id);
      throw error;
    }
  }

  private constructor(request: SpawnRequest, context: TerminalContext, spawn: SpawnRecord, command: PtyCommand) {
    this.#id = request.id;
    this.#context = context;
    this.#mask = request.mask.length === 0 ? null : new StreamMask(new Mask(request.mask));
    this.#journal = new JournalWriter(journalDirectory(context.stateDir, request.id), context.journal);
    this.#pty = new Pty(command, context.descriptors, (bytes) => this.#output(bytes));
    this.#journal.onProgress = () => this.#resume();
    this.#journal.append('resize', Buffer.alloc(0), resizeArg(request.cols, request.rows));
    // One that is gone and reaped already has no start time, and needs none: no process is it.
    const leader = identityOf(this.#pty.pid) ?? { pid: this.#pty.pid, startTime: 'gone' };
    this.#tree = { cgroup: spawn.cgroup, leader, marker: request.marker };
    this.#status = statusOf({ spawn, pid: leader, exit: null });
    this.exited = this.#untilExit(request.graceMs);
  }

  get status(): TerminalStatus {
    return this.#status;
  }

  /** Ends the whole tree; the exit follows. Once is enough: a second call changes nothing. */
  end({ signal = 'SIGTERM', graceMs }: Omit<EndRequest, 'id'>): Promise<Ended> {
    this.#ending ??= this.#context.containment.end(this.#tree, { signal, graceMs }).catch((error: unknown) => {
      // The kernel's tables cannot be read (no file descriptors left): the exit must come all the same.
      this.#context.log('ending failed', { id: this.#id, error: String(error) });
      return { ended: 0, leftover: 0, oomKills: null };
    });
    return this.#ending;
  }

  async #untilExit(graceMs: number): Promise<TerminalStatus> {
    const id = this.#id;
    const leader = await this.#pty.exited;
    const at = Date.now();
    const wasFull = await isFileSystemFull(this.#context.stateDir).catch(() => false); // before ending the rest can make room
    const { ended, leftover, oomKills } = await this.end({ graceMs });
    if (leftover > 0) this.#context.log('processes survived', { id, leftover });
    await this.#drain();
    this.#flushMask();
    await this.#journal.close();
    const exit: Exit = { ...leader, at, swept: ended, diskFull: wasFull || this.#journal.diskFull, oomKills };
    await writeExitRecord(this.#context.stateDir, id, exit).catch((error: unknown) => {
      // Whoever waits for the exit is better served by one that only the daemon records than by none.
      this.#context.log('exit not recorded', { id, error: String(error) });
    });
    this.#status = { ...this.#status, exit };
    return this.#status;
  }

  #output(bytes: Buffer): void {
    this.#lastOutput = performance.now();
    if (this.#mask) {
      clearTimeout(this.#holdTimer);
      this.#append(this.#mask.push(bytes));
      if (this.#mask.held > 0) this.#holdTimer = setTimeout(() => this.#flushMask(), holdMs);
    } else {
      this.#append(bytes);
    }
  }

  #flushMask(): void {
    clearTimeout(this.#holdTimer);
    if (this.#mask) this.#append(this.#mask.flush());
  }

  #append(bytes: Buffer): void {
    if (bytes.length > 0) this.#journal.append('output', bytes);
    if (this.#isPaused || this.#journal.pending <= pauseBytes) return;
    this.#isPaused = true;
    this.#pty.pause();
  }

  #resume(): void {
    if (!this.#isPaused || this.#journal.pending >= resumeBytes) return;
    this.#isPaused = false;
    this.#lastOutput = performance.now();
    this.#pty.resume();
  }

  /** Reads to the end. A process that escaped and keeps the terminal open is waited for only while it writes. */
  async #drain(): Promise<void> {
    this.#lastOutput = performance.now();
    for (;;) {
      const timer = new AbortController();
      const isDrained = this.#pty.drained.then(() => true);
      const isOver = await Promise.race([isDrained, sleep(silenceMs, false, { signal: timer.signal })]);
      timer.abort();
      if (isOver) return;
      if (!this.#isPaused && performance.now() - this.#lastOutput >= silenceMs) this.#pty.close();
    }
  }
}
