import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Client } from '../../src/client/client.ts';
import type { StoredEvent } from '../../src/protocol/events.ts';
import type { TaskId, TurnId } from '../../src/protocol/ids.ts';
import type { ParamsIn } from '../../src/protocol/methods.ts';

export const productDir = dirname(dirname(import.meta.dirname));
export const programs = join(productDir, 'test', 'fixtures', 'programs');

export interface DaemonOptions {
  /** Flags of `harnessd serve` beside the state directory and the port: `{ 'turn-idle-ms': 500 }`. */
  readonly flags?: Readonly<Record<string, string | number>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Another program than harnessd's own, which starts the daemon with parts of its own. */
  readonly entry?: string;
}

/** A real daemon in a process and a state directory of its own; disposing ends it, its turns and its companions, and checks that nothing is left. */
export class TestDaemon implements AsyncDisposable {
  readonly dir: string;
  readonly stateDir: string;
  readonly home: string;
  #options: DaemonOptions;
  #child: ChildProcess | undefined;
  #clients: Client[] = [];
  readonly #crashed = Promise.withResolvers<void>();
  log = '';

  constructor(dir: string, options: DaemonOptions) {
    this.dir = dir;
    this.stateDir = join(dir, 'state');
    this.home = join(dir, 'home');
    this.#options = options;
  }

  get pid(): number {
    return this.#child!.pid!;
  }

  /** Starts (again); other options hold from now on. Resolves when it is ready, or with its exit code if it ends before. */
  async start(options: DaemonOptions = {}): Promise<{ exitCode: number | null } | undefined> {
    this.#options = {
      flags: { ...this.#options.flags, ...options.flags },
      env: { ...this.#options.env, ...options.env },
      ...(this.#options.entry !== undefined && { entry: this.#options.entry }),
    };
    const { flags = {}, env = {}, entry = join(productDir, 'src', 'main.ts') } = this.#options;
    const args = Object.entries({
      'listen-port': 0,
      'offline-model': 'auto',
      'turn-grace-ms': 2000,
      'hosts-idle-exit-ms': 3000,
      'log-level': 'debug',
      ...flags,
    });
    const child = spawn(
      process.execPath,
      [entry, '--state-dir', this.stateDir, 'serve', ...args.flatMap(([name, value]) => [`--${name}`, String(value)])],
      {
        env: {
          PATH: process.env['PATH'] ?? '',
          HOME: this.home,
          XDG_CACHE_HOME: join(tmpdir(), 'harnessd-test-cache'),
          ...env,
        },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    this.#child = child;
    const ready = Promise.withResolvers<void>();
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
      if (text.includes('"msg":"ready"')) ready.resolve();
    });
    const exited = once(child, 'exit');
    child.once('exit', (_code, signal) => signal === 'SIGKILL' && this.#crashed.resolve());
    const ended = await Promise.race([ready.promise, exited]);
    return Array.isArray(ended) ? { exitCode: child.exitCode } : undefined;
  }

  async address(): Promise<{ url: string; token: string }> {
    const { url } = JSON.parse(await readFile(join(this.stateDir, 'daemon.json'), 'utf8')) as { url: string };
    return { url, token: (await readFile(join(this.stateDir, 'token'), 'utf8')).trim() };
  }

  async client(): Promise<Client> {
    const client = await connect(await this.address());
    this.#clients.push(client);
    return client;
  }

  /** Creates a task and waits for its turn to end. */
  async run(
    params: ParamsIn<'task.create'>,
  ): Promise<{ taskId: TaskId; turnId: TurnId; events: StoredEvent[]; ended: StoredEvent }> {
    await using client = await connect(await this.address());
    const { taskId, turnId } = await client.call('task.create', params);
    const events = await this.eventsUntilEnded(taskId, turnId);
    return { taskId, turnId, events, ended: events.at(-1)! };
  }

  /** All events of a task up to the end of a turn. */
  async eventsUntilEnded(taskId: TaskId, turnId: TurnId): Promise<StoredEvent[]> {
    return this.eventsUntil(taskId, (event) => event.turnId === turnId && event.type === 'turn.ended');
  }

  async eventsUntil(taskId: TaskId, isLast: (event: StoredEvent) => boolean): Promise<StoredEvent[]> {
    await using client = await connect(await this.address());
    const events: StoredEvent[] = [];
    const enough = new AbortController();
    for await (const event of client.events({ taskId, signal: enough.signal })) {
      events.push(event);
      if (isLast(event)) break;
    }
    enough.abort();
    return events;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }

  /** Resolves when the daemon has ended by itself. */
  async exited(): Promise<void> {
    const child = this.#child!;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  /** Resolves when the daemon has died of SIGKILL for the first time. */
  get crashed(): Promise<void> {
    return this.#crashed.promise;
  }

  get isUp(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Command lines of all processes that belong to this daemon's state directory or turns. */
  async processes(): Promise<string[]> {
    const found: string[] = [];
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      const [command, environment] = await Promise.all(
        ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')),
      );
      const isOurs =
        command!.includes(this.dir) || (environment!.includes(this.dir) && environment!.includes('HARNESSD_TURN='));
      if (isOurs && Number(pid) !== process.pid) found.push(`${pid} ${command!.replaceAll('\0', ' ').trim()}`);
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    if (!this.isUp) await this.start({ flags: { 'faults-crash-at': 'never' } }).catch(() => undefined); // what an earlier daemon left is ended by the next
    if (this.isUp) {
      await using client = await connect(await this.address());
      await client.call('daemon.stop', { endTurns: true });
      await this.exited();
    }
    let left = await this.processes();
    for (let tries = 0; left.length > 0 && tries < 100; tries += 1) {
      await sleep(50);
      left = await this.processes();
    }
    for (const line of left) process.kill(Number.parseInt(line, 10), 'SIGKILL');
    await rm(this.dir, { recursive: true, force: true, maxRetries: 3 });
    if (left.length > 0) throw new Error(`left behind:\n${left.join('\n')}`);
  }
}

export async function startDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const daemon = await prepareDaemon(options);
  const failed = await daemon.start();
  if (failed) throw new Error(`the daemon ended with ${failed.exitCode}:\n${daemon.log}`);
  return daemon;
}

/** Not started yet. */
export async function prepareDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const dir = await mkdtemp(join(tmpdir(), 'hd-'));
  await mkdir(join(dir, 'home'));
  return new TestDaemon(dir, options);
}

/** One line of what the offline model was asked. */
export interface ModelRequest {
  readonly n: number;
  readonly id: string;
  readonly path?: string;
  readonly digest?: string;
  readonly end?: string;
  readonly auth?: string;
  /** SHA-256 of each, its first 12 digits, by the header that it came in. */
  readonly credentials?: Readonly<Record<string, string>>;
  readonly session?: string;
  readonly model?: string;
  readonly messages?: number;
  readonly bytes?: number;
}

/** What the offline model of a daemon was asked: each request once, its ending as a second entry. */
export async function modelRequests(daemon: TestDaemon): Promise<ModelRequest[]> {
  const { url } = JSON.parse(await readFile(join(daemon.stateDir, 'offline-model', 'offline-model.json'), 'utf8')) as {
    url: string;
  };
  const response = await fetch(new URL('/_log?after=0', url));
  return (await response.json()) as ModelRequest[];
}
