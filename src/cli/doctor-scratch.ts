import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { compileCacheEnv } from '../base/warm-start.ts';
import { connect, type Client } from '../client/client.ts';
import { findDaemon } from '../client/find-daemon.ts';
import type { Config } from '../config/schema.ts';
import { findOrStartCompanion } from '../process/companion.ts';
import { signalProcess, type ProcessIdentity } from '../process/identity.ts';
import { commandOf, hasMarker, readProcessTable } from '../process/process-table.ts';
import { exitCodes, UsageError, type Context, type Env } from './context.ts';
import { findOrStartDaemon } from './start-daemon.ts';
import { stopDaemon } from './stop.ts';

/** A daemon with the offline model, and nothing of this computer's: state, HOME and workspaces are in one temporary directory. */
export interface Scratch extends AsyncDisposable {
  readonly client: Client;
  readonly graceMs: number;
  /** An empty directory. */
  readonly newWorkspace: () => Promise<string>;
  /** What the model was asked after that line of its log. */
  readonly requests: (after: number) => Promise<ModelRequest[]>;
}

/** Of the offline model's log: see docs/offline-model.md. */
const ModelRequest = z.object({
  n: z.int(),
  path: z.string().optional(),
  auth: z.string().optional(),
  credentials: z.record(z.string(), z.string()).optional(),
  story: z.string().optional(),
  toolCalls: z.int().optional(),
});
export type ModelRequest = z.infer<typeof ModelRequest>;

const Presence = z.object({ pid: z.int(), startTime: z.string(), url: z.string() });

const prefix = 'harnessd-doctor-';
const stateOf = (dir: string): string => join(dir, 'state');
const modelOf = (dir: string): string => join(dir, 'model');
const homeOf = (dir: string): string => join(dir, 'home');

const modelStartMs = 30_000;
const leaveMs = 5_000;
const killMs = 2_000;
const lookEveryMs = 50;

/** Of the computer's environment what a daemon hands to executors anyway, and so no credential. */
const inherited =
  /^(PATH|USER|LOGNAME|SHELL|LANG|LANGUAGE|TZ|LC_.*|(https?|no)_proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_.*)$/i;

interface ScratchOptions {
  readonly context: Context;
  /** What a turn runs under is taken from it. */
  readonly config: Config;
  readonly signal: AbortSignal;
}

export async function openScratch({ context, config, signal }: ScratchOptions): Promise<Scratch> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), prefix));
  const env = scratchEnv(context.env, dir);
  const guard = spawn(process.execPath, [...process.execArgv, mainOf(context), 'doctor-end', dir], {
    cwd: '/',
    detached: true, // out of reach of Ctrl-C
    env,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  stack.defer(() => released(guard));
  await Promise.all([once(guard, 'spawn'), mkdir(homeOf(dir))]);

  const model = await startModel(context, { dir, env, signal });
  const { containment, executors, turn } = config;
  const options = {
    HARNESSD_LISTEN_PORT: '0',
    HARNESSD_OFFLINE_MODEL: 'auto',
    HARNESSD_CONTAINMENT: containment,
    HARNESSD_EXECUTORS_BINARIES: executors.binaries.join(','),
    HARNESSD_TURN_GRACE_MS: String(turn.graceMs),
    HARNESSD_PROVIDERS_ANTHROPIC_BASE_URL: model.url,
    HARNESSD_PROVIDERS_OPENAI_BASE_URL: model.url,
    HARNESSD_PROVIDERS_GOOGLE_BASE_URL: model.url,
    HARNESSD_PROVIDERS_CODE_ASSIST_BASE_URL: model.url,
  };
  const { daemon } = await findOrStartDaemon({ ...context, env: { ...env, ...options } }, stateOf(dir));
  await symlink(modelOf(dir), join(stateOf(dir), 'offline-model')); // where it looks for one before it starts its own
  const client = stack.use(await connect({ ...daemon, signal }));
  const resources = stack.move();
  return {
    client,
    graceMs: turn.graceMs,
    newWorkspace: () => mkdtemp(join(homeOf(dir), 'work-')),
    requests: async (after) => {
      const answer = await fetch(`${model.url}/_log?after=${after}`, { signal });
      return z.array(ModelRequest).parse(await answer.json());
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/**
 * `harnessd doctor-end`: the guard of a scratch directory. It waits until whoever opened it lets go, or is no more, however
 * that came about; then it ends what lives there and removes it.
 */
export async function endScratch({ stdin }: Context, dir: string): Promise<number> {
  const found = await lstat(dir).catch(() => undefined);
  if (!basename(dir).startsWith(prefix) || !found?.isDirectory() || found.uid !== process.getuid?.())
    throw new UsageError(`${dir} is not a directory of harnessd doctor’s`);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => undefined); // what it has to do has an end
  for await (const _ of stdin); // nothing comes but the end
  const daemon = await findDaemon(stateOf(dir)).catch(() => undefined); // it was never up, or has died
  if (daemon) await stopDaemon(daemon, true).catch(() => undefined); // it is killed below
  await allGone(dir, leaveMs, () => undefined);
  await allGone(dir, killMs, (left) => signalProcess(left, 'SIGKILL'));
  await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  return exitCodes.success;
}

async function released(guard: ChildProcess): Promise<void> {
  if (guard.exitCode !== null || guard.signalCode !== null) return;
  const exited = once(guard, 'exit');
  guard.stdin?.end();
  await exited;
}

function scratchEnv(env: Env, dir: string): Record<string, string> {
  const kept = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && inherited.test(entry[0]),
  );
  return { ...Object.fromEntries(kept), ...compileCacheEnv(), HOME: homeOf(dir), TMPDIR: tmpdir() };
}

interface ModelOptions {
  readonly dir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}

/** Before the daemon, which is to be told its address as that of every vendor. */
function startModel({ productDir }: Context, { dir, env, signal }: ModelOptions): Promise<z.infer<typeof Presence>> {
  const modelDir = modelOf(dir);
  return findOrStartCompanion({
    name: 'The offline model',
    dir: modelDir,
    argv: [process.execPath, join(productDir, 'src', 'offline-model', 'main.ts'), '--dir', modelDir],
    env,
    ready: async () => {
      const text = await readFile(join(modelDir, 'offline-model.json'), 'utf8').catch(() => 'null'); // not yet
      return Presence.nullable().parse(JSON.parse(text));
    },
    timeoutMs: modelStartMs,
    logFile: join(dir, 'offline-model.log'),
    signal,
  });
}

const mainOf = ({ productDir }: Context): string => join(productDir, 'src', 'main.ts');

/** Until nothing lives in the directory any more; what still does is given to `each` from time to time. */
async function allGone(dir: string, withinMs: number, each: (left: ProcessIdentity) => void): Promise<void> {
  for (const until = Date.now() + withinMs; Date.now() < until; await sleep(lookEveryMs)) {
    const left = await livingIn(dir);
    if (left.length === 0) return;
    left.forEach(each);
  }
}

/** Turns have its HOME, all others are told of the directory when they are started. */
async function livingIn(dir: string): Promise<ProcessIdentity[]> {
  const marker = { name: 'HOME', value: homeOf(dir) };
  const others = (await readProcessTable()).filter(({ pid }) => pid !== process.pid);
  const isOfIt = await Promise.all(
    others.map(
      async ({ pid }) => (await hasMarker(pid, marker)) || (await commandOf(pid)).some((word) => word.includes(dir)),
    ),
  );
  return others.filter((_, index) => isOfIt[index]);
}
