import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type Client } from '../../src/client/client.ts';

const productDir = join(import.meta.dirname, '..', '..');
export const agent = join(import.meta.dirname, 'say-when.sh');

/** A directory for one figure, with a state directory and a compile cache in it; gone afterwards. */
export class Scratch implements AsyncDisposable {
  readonly dir: string;

  readonly #hasKey: boolean;

  private constructor(dir: string, hasKey: boolean) {
    this.dir = dir;
    this.#hasKey = hasKey;
  }

  /** Without a key the offline model answers, where it may. */
  static async make({ hasKey = true } = {}): Promise<Scratch> {
    const dir = await mkdtemp(join(tmpdir(), 'hb-'));
    await mkdir(join(dir, 'home'));
    return new Scratch(dir, hasKey);
  }

  get stateDir(): string {
    return join(this.dir, 'state');
  }

  /** What every process that is compared has in its environment. */
  get env(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: join(this.dir, 'home'),
      XDG_CACHE_HOME: join(this.dir, 'cache'),
      NODE_COMPILE_CACHE: join(this.dir, 'cache', 'harnessd', 'compile'), // as the launcher sets it
      ...(this.#hasKey && { ANTHROPIC_API_KEY: 'bench-not-a-key' }),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A process that says "ready" on its standard error, and how long that took from before its start. */
export async function spawnReady(args: readonly string[], env: Record<string, string>): Promise<Ready> {
  const before = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const ready = Promise.withResolvers<number>();
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (said.includes('"msg":"ready"')) ready.resolve(performance.now() - before);
  });
  child.once('exit', (code) => ready.reject(new Error(`ended with ${code} before it was ready:\n${said}`)));
  return { child, readyMs: await ready.promise };
}

export interface Ready {
  readonly child: ChildProcess;
  readonly readyMs: number;
}

export class BenchDaemon implements AsyncDisposable {
  readonly readyMs: number;
  readonly #child: ChildProcess;
  readonly #scratch: Scratch;

  private constructor({ child, readyMs }: Ready, scratch: Scratch) {
    this.#child = child;
    this.#scratch = scratch;
    this.readyMs = readyMs;
  }

  static async start(scratch: Scratch, flags: readonly string[] = []): Promise<BenchDaemon> {
    // The flags are those of the launcher.
    const main = join(productDir, 'src', 'main.ts');
    const args = [
      '--min-semi-space-size=4',
      '--max-semi-space-size=4',
      '--preserve-symlinks',
      '--preserve-symlinks-main',
      main,
      '--state-dir',
      scratch.stateDir,
      'serve',
      '--listen-port',
      '0',
      ...flags,
    ];
    return new BenchDaemon(await spawnReady(args, scratch.env), scratch);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  async address(): Promise<{ url: string; token: string }> {
    const { url } = JSON.parse(await readFile(join(this.#scratch.stateDir, 'daemon.json'), 'utf8')) as { url: string };
    return { url, token: (await readFile(join(this.#scratch.stateDir, 'token'), 'utf8')).trim() };
  }

  async client(): Promise<Client> {
    return connect(await this.address());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined;
    this.#child.kill('SIGTERM');
    await exited;
  }
}
