import { constants } from 'node:os';
import { createRequire } from 'node:module';
import { ReadStream } from 'node:tty';
import type { Descriptors } from './descriptors.ts';

/** How the leader of a terminal ended: by exit code or by signal. */
export type LeaderExit =
  { readonly code: number; readonly signal: null } | { readonly code: null; readonly signal: string };

export interface PtyCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly cols: number;
  readonly rows: number;
}

/** node-pty's native part. Its JavaScript above this drops what is unread 200 ms after the exit: a paused terminal's tail. */
interface Native {
  fork(
    file: string,
    args: readonly string[],
    env: readonly string[],
    cwd: string,
    cols: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): { readonly fd: number; readonly pid: number; readonly pty: string };
}

const keepId = -1;
const native = loadNative();

/** A program in a new session on a terminal of its own. It is forked by the constructor, which throws if that fails. */
export class Pty {
  readonly pid: number;
  /** Resolves when the leader was reaped. Output may still come. */
  readonly exited: Promise<LeaderExit>;
  /** Resolves after the last output: when no process has the terminal open any more, or `close` was called. */
  readonly drained: Promise<void>;
  readonly #stream: ReadStream;

  constructor(
    { file, args, env, cwd, cols, rows }: PtyCommand,
    descriptors: Descriptors,
    onOutput: (bytes: Buffer) => void,
  ) {
    const exited = Promise.withResolvers<LeaderExit>();
    const drained = Promise.withResolvers<void>();
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const onExit = (code: number, signal: number): void => {
      exited.resolve(signal === 0 ? { code, signal: null } : { code: null, signal: signalName(signal) });
    };
    const forked = descriptors.fork(() =>
      native.module.fork(file, args, variables, cwd, cols, rows, keepId, keepId, true, native.helper, onExit),
    );
    this.pid = forked.pid;
    this.exited = exited.promise;
    this.drained = drained.promise;
    this.#stream = new Master(forked.fd, () => descriptors.closed(forked.fd));
    this.#stream.on('data', onOutput);
    this.#stream.on('error', () => this.#stream.destroy()); // EIO is how Linux says that no one has it open any more
    this.#stream.on('end', () => this.#stream.destroy());
    this.#stream.on('close', () => drained.resolve());
  }

  /** Stops reading: the kernel's buffer fills, and the program waits in its next write. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Hangs up on whoever still has it open. */
  close(): void {
    this.#stream.destroy();
  }
}

/** Tells that its descriptor is closed in the moment it is, before anything else can be opened in its place. */
class Master extends ReadStream {
  readonly #onClosed: () => void;

  constructor(fd: number, onClosed: () => void) {
    super(fd);
    this.#onClosed = onClosed;
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    super._destroy(error, callback);
    this.#onClosed();
  }
}

function signalName(number: number): string {
  const known = Object.entries(constants.signals).find(([, value]) => value === number);
  return known?.[0] ?? `SIG${number}`;
}

/** The same files as node-pty's own loader takes: what was built here, else what was shipped. */
function loadNative(): { readonly module: Native; readonly helper: string } {
  const require = createRequire(import.meta.url);
  const shipped = `prebuilds/${process.platform}-${process.arch}`;
  const failures: unknown[] = [];
  for (const folder of ['build/Release', shipped]) {
    try {
      const path = require.resolve(`node-pty/${folder}/pty.node`);
      return { module: require(path) as Native, helper: path.replace(/pty\.node$/, 'spawn-helper') };
    } catch (error) {
      failures.push(error);
    }
  }
  throw new AggregateError(failures, 'node-pty has no native part for this machine');
}
