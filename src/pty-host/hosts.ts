import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findOrStartCompanion } from '../process/companion.ts';
import type { ContainmentMode } from '../process/containment.ts';
import type { ExitListener } from './client.ts';
import * as files from './host-files.ts';
import { HostLink } from './host-link.ts';
import { FORMAT, PROTOCOL, type HostRecord, type TerminalStatus } from './protocol.ts';

export interface HostsOptions {
  readonly stateDir: string;
  readonly containment: ContainmentMode;
  readonly logFile: string;
  /** Added to a new host's environment, of which terminals inherit nothing. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long a host with neither terminal nor daemon stays. */
  readonly idleExitMs?: number;
  /** How long a terminal's output waits for room on a full disk before it is dropped, with a gap. */
  readonly diskFullMs?: number;
  readonly signal: AbortSignal;
}

const startMs = 15_000;
/** A small young generation: it allocates little, and stays small for days. */
const nodeFlags = ['--max-semi-space-size=1'];
const mainPath = fileURLToPath(new URL('./main.ts', import.meta.url));

/** Connects to every host that lives. */
export async function openHosts(options: HostsOptions): Promise<Hosts> {
  const hosts = new Hosts(options);
  await hosts.open();
  return hosts;
}

/** All the pty hosts of this daemon: those it found, and the one that it starts when it needs one. */
export class Hosts implements AsyncDisposable {
  readonly #options: HostsOptions;
  readonly #links = new Map<string, HostLink>();
  readonly #exitListeners = new Set<ExitListener>();
  readonly #lostListeners = new Set<(hostId: string) => void>();
  #starting: Promise<HostLink> | null = null;
  /** The hosts that had died before this daemon looked. */
  lostAtStart: readonly string[] = [];

  constructor(options: HostsOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { stateDir, signal } = this.#options;
    const lost: string[] = [];
    const ours: HostRecord[] = [];
    for (const record of await files.readHostRecords(stateDir)) {
      if (!(await files.isHostAlive(record))) lost.push(record.id);
      else if (record.protocol === PROTOCOL) ours.push(record); // one of another protocol is for the daemon that speaks it
    }
    for (const id of lost) await files.removeHostFiles(stateDir, id);
    this.lostAtStart = lost;
    await Promise.all(ours.map((record) => this.#link(record)));
    signal.throwIfAborted();
    await this.#retireOlder();
  }

  byId(hostId: string): HostLink | null {
    return this.#links.get(hostId) ?? null;
  }

  /** The host for new terminals, started when there is none; however many ask at once, one is started. */
  async newest(): Promise<HostLink> {
    const [newest] = this.#byAge();
    if (newest) return newest;
    this.#starting ??= this.#start().finally(() => (this.#starting = null));
    return this.#starting;
  }

  /** Of all hosts, as last heard; those of a lost host are on disk only. */
  terminals(): TerminalStatus[] {
    return [...this.#links.values()].flatMap((link) => link.terminals);
  }

  /** Exits from now on, each once, also those that came while a connection was down. `terminals` knows the earlier ones. */
  onExit(listener: ExitListener): Disposable {
    this.#exitListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#exitListeners.delete(listener) };
  }

  /** A host's process died and left its terminals hung up. One that leaves in order is not lost. */
  onLost(listener: (hostId: string) => void): Disposable {
    this.#lostListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#lostListeners.delete(listener) };
  }

  /** Tells every host to leave when its last terminal has ended: at once, if none runs. */
  async leave(): Promise<void> {
    await this.#starting?.catch(() => undefined); // its caller heard of it
    await Promise.all([...this.#links.values()].map((link) => link.stop().catch(() => undefined))); // one that is gone has left
  }

  /** Closes the connections; the hosts stay. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#starting?.catch(() => undefined); // its caller heard of it
    await Promise.all([...this.#links.values()].map((link) => link[Symbol.asyncDispose]()));
  }

  async #start(): Promise<HostLink> {
    const {
      stateDir,
      containment,
      logFile,
      env = {},
      idleExitMs = 10_000,
      diskFullMs = 30_000,
      signal,
    } = this.#options;
    const id = randomBytes(4).toString('hex');
    files.hostSocketPath(stateDir, id); // refuses a path that is too long before anything is started
    const flags = [
      '--state',
      stateDir,
      '--id',
      id,
      '--containment',
      containment,
      '--idle-exit-ms',
      String(idleExitMs),
      '--disk-full-ms',
      String(diskFullMs),
    ];
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const record = await findOrStartCompanion({
      name: 'The pty host',
      dir: files.hostsDirectory(stateDir),
      argv: [process.execPath, ...nodeFlags, mainPath, ...flags],
      env: { NODE_COMPILE_CACHE: join(stateDir, 'compile-cache'), ...env },
      ready: () => files.readHostRecord(stateDir, id),
      timeoutMs: startMs,
      logFile,
      signal,
    });
    const link = await this.#link(record);
    await this.#retireOlder();
    return link;
  }

  async #link(record: HostRecord): Promise<HostLink> {
    const link = await HostLink.open(this.#options.stateDir, record);
    link.onExit((terminal) => this.#exitListeners.forEach((listener) => listener(terminal)));
    this.#links.set(record.id, link);
    void this.#follow(link); // `gone` never rejects
    return link;
  }

  async #follow(link: HostLink): Promise<void> {
    const ending = await link.gone;
    this.#links.delete(link.hostId);
    if (ending === 'lost') for (const listener of this.#lostListeners) listener(link.hostId);
  }

  #byAge(): HostLink[] {
    const usable = [...this.#links.values()].filter((link) => !link.isRetired && link.record.format === FORMAT);
    return usable.sort((a, b) => b.record.startedAt - a.record.startedAt);
  }

  /** Each but the newest leaves when its last terminal has ended. */
  async #retireOlder(): Promise<void> {
    for (const link of this.#byAge().slice(1)) await link.stop().catch(() => undefined); // it is gone already
  }
}
