import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type Client } from '../client/client.ts';
import { stateDirOf } from '../config/load.ts';
import { executors } from '../../executors/index.ts';
import { isAlive } from '../process/identity.ts';
import { exitCodes, print, type Context, type GlobalOptions } from './context.ts';
import { followTurn } from './follow.ts';
import { onInterrupt } from './interrupts.ts';
import { exitCodeOf, paramsOf } from './run.ts';
import { findOrStartDaemon, type Started } from './start-daemon.ts';
import { stopDaemon } from './stop.ts';

export interface StartOptions extends GlobalOptions {
  readonly once?: boolean;
  readonly executor?: string;
  readonly model?: string;
  readonly workspace?: string;
}

const firstPrompt =
  'Create the file hello.txt with one friendly line in the current directory, then show what is in it.';

const askAgain =
  'press Ctrl-C again to end the daemon and its turns; to leave it running, close this terminal: "harnessd stop" ends it later';
const lookEveryMs = 500;

/** `harnessd start`, which is what `npm start` runs: a daemon, a first task, and how to go on. */
export async function start(context: Context, prompt: string | undefined, options: StartOptions): Promise<number> {
  const stateDir = stateDirOf(options.stateDir, context.env);
  const started = await findOrStartDaemon(context, stateDir);
  tellWhatIsUp(context, stateDir, started);

  await using _daemon = started.isOurs ? ending(context, started) : undefined;
  const over = new AbortController();
  using _interrupts = onInterrupt((count) => {
    if (count > 1 || !started.isOurs) return over.abort();
    context.stderr.write(`\n${askAgain}\n`);
  });

  await using client = await connect(started.daemon);
  const { taskId, code } = await firstTask({
    client,
    context,
    prompt: prompt ?? firstPrompt,
    options,
    signal: over.signal,
  });
  if (options.once || !started.isOurs || over.signal.aborted) return code;
  tellHowToGoOn(context, taskId, options);
  return await stay(context, started, over.signal);
}

/** Ends the daemon that this command brought up, whatever this command ends with. */
function ending(context: Context, { daemon }: Started): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      if (!isAlive(daemon)) return;
      await stopDaemon(daemon, true);
      print(context, 'the daemon and its turns have ended');
    },
  };
}

/** Until Ctrl-C, or the daemon's own end. A lost connection is neither. */
async function stay(context: Context, { daemon, log }: Started, signal: AbortSignal): Promise<number> {
  while (!signal.aborted) {
    if (!isAlive(daemon)) {
      print(context, `the daemon has ended; its log is ${log}`);
      return exitCodes.failure;
    }
    await sleep(lookEveryMs, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
  }
  return exitCodes.success;
}

interface FirstTask {
  readonly client: Client;
  readonly context: Context;
  readonly prompt: string;
  readonly options: StartOptions;
  readonly signal: AbortSignal;
}

async function firstTask({
  client,
  context,
  prompt,
  options,
  signal,
}: FirstTask): Promise<{ taskId: string; code: number }> {
  const workspace = options.workspace === undefined ? {} : { workspace: resolve(options.workspace) };
  const turn = await client.call('task.create', { prompt, ...paramsOf(options), ...workspace }, signal);
  print(context, `task       ${turn.taskId}\n`);
  const outcome = await followTurn({ client, context, ...turn, after: 0, json: false, signal });
  print(context, '');
  return { taskId: turn.taskId, code: exitCodeOf(outcome) };
}

function tellWhatIsUp(context: Context, stateDir: string, { daemon, isOurs, log }: Started): void {
  print(context, `daemon     ${daemon.url} (pid ${daemon.pid}${isOurs ? '' : ', was up before'})`);
  print(context, `state      ${stateDir}`);
  if (!isOurs) return;
  print(context, `log        ${log}`);
  const variables = executors.flatMap(({ credentialVariables }) => Object.values(credentialVariables));
  const key = variables.find((name) => context.env[name]);
  print(
    context,
    `provider   ${key ? `${key} is set: the real provider` : 'no key is set: the offline model answers; it is scripted'}`,
  );
}

function tellHowToGoOn(context: Context, taskId: string, options: StartOptions): void {
  const stateDir = options.stateDir ?? context.env['HARNESSD_STATE_DIR'];
  const command = `runtime/harnessd${stateDir ? ` --state-dir ${stateDir}` : ''}`;
  print(
    context,
    [
      'The daemon stays up. In another terminal, go on with:',
      `  ${command} run --task ${taskId} "and now…"   another turn of this task`,
      `  ${command} run "…" --workspace .   a new task`,
      `  ${command} logs ${taskId}   what happened, again`,
      `  ${command} tasks   all tasks`,
      'Ctrl-C ends it.',
    ].join('\n'),
  );
}
