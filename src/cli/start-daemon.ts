import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { compileCacheEnv } from '../base/warm-start.ts';
import { connect } from '../client/client.ts';
import { findDaemon, type FoundDaemon } from '../client/find-daemon.ts';
import { isAlive } from '../process/identity.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { Context, Env } from './context.ts';
import { onInterrupt } from './interrupts.ts';

export interface Started {
  readonly daemon: FoundDaemon;
  /** Whether this command brought it up. */
  readonly isOurs: boolean;
  readonly log: string;
}

const readyWithinMs = 30_000;
/** Cheaper and surer than a watch, of which a system has few. */
const lookEveryMs = 20;

/** The daemon of a state directory: the one that is up, else a new one, detached, with its log in `logs/harnessd.log`. */
export async function findOrStartDaemon(context: Context, stateDir: string): Promise<Started> {
  const log = join(stateDir, 'logs', 'harnessd.log');
  const found = await findLiving(stateDir);
  if (found) return { daemon: found, isOurs: false, log };
  await mkdir(join(stateDir, 'logs'), { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw new DaemonError('state_unwritable', `${stateDir} cannot be made or written`, { cause });
  });
  const output = openSync(log, 'a', 0o600);
  const logged = statSync(log).size;
  try {
    const child = spawn(process.execPath, serveArgs(context, stateDir), {
      detached: true,
      env: { ...compileCacheEnv(), ...withoutNpm(context.env) },
      stdio: ['ignore', output, output],
    });
    child.unref();
    return { daemon: await ready(child, stateDir, () => wordsAfter(log, logged)), isOurs: true, log };
  } finally {
    closeSync(output);
  }
}

function serveArgs({ env, productDir }: Context, stateDir: string): string[] {
  const offline = env['HARNESSD_OFFLINE_MODEL'] ? [] : ['--offline-model', 'auto'];
  return [...process.execArgv, join(productDir, 'src', 'main.ts'), '--state-dir', stateDir, 'serve', ...offline];
}

/** Waits until the child has said in `daemon.json` where it listens. */
async function ready(child: ChildProcess, stateDir: string, words: () => string): Promise<FoundDaemon> {
  const { promise, resolve, reject } = Promise.withResolvers<FoundDaemon>();
  const look = (): void => {
    findDaemon(stateDir).then(
      (found) => found.pid === child.pid && resolve(found),
      () => undefined, // not yet
    );
  };
  const failed = (why: string): void =>
    reject(new DaemonError('daemon_unreachable', `the daemon did not start: ${words() || why}`));
  child.once('error', (error) => failed(error.message));
  child.once('exit', (code, signal) => failed(`it ended with ${signal ?? `exit code ${code}`}`));
  using timers = new DisposableStack();
  timers.use(onInterrupt(() => child.kill()));
  timers.adopt(setInterval(look, lookEveryMs), clearInterval);
  timers.adopt(
    setTimeout(() => failed(`it was not ready within ${readyWithinMs / 1_000} s`), readyWithinMs),
    clearTimeout,
  );
  return await promise;
}

async function findLiving(stateDir: string): Promise<FoundDaemon | undefined> {
  try {
    const found = await findDaemon(stateDir);
    if (!isAlive(found)) return undefined;
    await using client = await connect(found);
    await client.call('daemon.info', {});
    return found;
  } catch (error) {
    if (error instanceof DaemonError && error.code === 'daemon_unreachable') return undefined;
    throw error;
  }
}

/** What the daemon itself said last about why it cannot run, else its last line. */
function wordsAfter(log: string, offset: number): string {
  const said = readFileSync(log).subarray(offset).toString().trim().split('\n');
  const reason = said.findLast((line) => line.startsWith('harnessd: '));
  return (reason ?? said.at(-1) ?? '').replace(/^harnessd: /, '');
}

/** npm's own variables are neither the daemon's business nor its executors'. */
function withoutNpm(env: Env): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !/^npm_/i.test(entry[0]),
  );
  return Object.fromEntries(kept);
}
