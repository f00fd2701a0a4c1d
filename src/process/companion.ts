import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, type ProcessIdentity } from './identity.ts';

export interface CompanionOptions<Address extends ProcessIdentity> {
  /** What the companion is, for people. */
  readonly name: string;
  /** The private directory in which it keeps its record; made when absent. */
  readonly dir: string;
  readonly argv: readonly [string, ...string[]];
  /** All of its environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** The record that it writes once it listens, or null while there is none. */
  readonly ready: () => Promise<Address | null>;
  readonly timeoutMs: number;
  readonly logFile: string;
  readonly signal: AbortSignal;
}

const pollMs = 5;
const logTailLines = 10;

/** Finds a process that outlives this one, or starts it in a session of its own. A record of a dead one does not count. */
export async function findOrStartCompanion<Address extends ProcessIdentity>(
  options: CompanionOptions<Address>,
): Promise<Address> {
  const found = await options.ready();
  if (found && isAlive(found)) return found;
  options.signal.throwIfAborted();
  const child = await startDetached(options);
  const waiting = AbortSignal.any([options.signal, AbortSignal.timeout(options.timeoutMs)]);
  for (;;) {
    const address = await options.ready();
    if (address && isAlive(address)) return address;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(
        `${options.name} ended at once (${child.signalCode ?? `exit ${child.exitCode}`})${await tail(options)}`,
      );
    }
    options.signal.throwIfAborted();
    if (waiting.aborted) {
      child.kill('SIGKILL'); // a late starter would be a second one
      throw new Error(`${options.name} was not ready after ${options.timeoutMs} ms${await tail(options)}`);
    }
    await sleep(pollMs);
  }
}

async function startDetached(options: CompanionOptions<ProcessIdentity>): Promise<ChildProcess> {
  await mkdir(options.dir, { recursive: true, mode: 0o700 });
  await mkdir(dirname(options.logFile), { recursive: true, mode: 0o700 });
  const log = await open(options.logFile, 'a', 0o600);
  try {
    const [program, ...args] = options.argv;
    const stdio = ['ignore', log.fd, log.fd] as const;
    const child = spawn(program, args, { detached: true, stdio: [...stdio], env: options.env, cwd: '/' });
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    return child;
  } finally {
    await log.close();
  }
}

async function tail({ logFile }: CompanionOptions<ProcessIdentity>): Promise<string> {
  const log = await readFile(logFile, 'utf8').catch(() => '');
  const lines = log.trimEnd().split('\n').slice(-logTailLines).join('\n');
  return lines === '' ? '' : `. Its last log lines:\n${lines}`;
}
