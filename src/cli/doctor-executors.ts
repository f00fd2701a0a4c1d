import type { Executor } from '../kit/executor.ts';
import type { Reason } from '../protocol/events.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { Check, Step } from './doctor-checks.ts';
import {
  checkVersion,
  findCli,
  notInstalled,
  secondsSince,
  todoFor,
  type Cli,
  type CliOptions,
} from './doctor-clis.ts';
import { openScratch, type Scratch } from './doctor-scratch.ts';
import { Steps } from './doctor-steps.ts';
import { endOf, TurnFault } from './doctor-turns.ts';

export interface ExecutorOptions extends CliOptions {
  readonly executors: readonly Executor[];
  /** Told before what takes long. */
  readonly onBegin: (name: string) => void;
}

/** Whether each CLI is there and starts. */
export async function* versionChecks(options: ExecutorOptions): AsyncGenerator<Check, void> {
  for (const executor of options.executors) yield* versionCheck(executor, options);
  if (!isAnyThere(options)) yield noneOf(options.executors);
}

/** Whether each CLI does what a turn needs of it, by a daemon of its own and the offline model. One after another: each may take 1 GB. */
export async function* drivingChecks(options: ExecutorOptions): AsyncGenerator<Check, void> {
  const { executors, signal, onBegin } = options;
  if (!isAnyThere(options)) return yield* versionChecks(options);
  onBegin('scratch daemon');
  const opened = await openScratch(options).catch((error: unknown) => {
    if (signal.aborted || !(error instanceof Error)) throw error;
    return error;
  });
  if (opened instanceof Error) {
    yield { name: 'scratch daemon', state: 'fail', found: opened.message, todo: 'try harnessd serve by itself' };
    return;
  }
  await using scratch = opened;
  for (const executor of executors) {
    yield* versionCheck(executor, options);
    const cli = findCli(executor, options);
    if (cli) yield* drive(scratch, cli, options);
  }
  yield {
    name: 'not tried',
    state: 'note',
    found: 'whatever needs a vendor: real keys and models, logging in, refreshing a login',
  };
}

async function* versionCheck(executor: Executor, options: ExecutorOptions): AsyncGenerator<Check, void> {
  const cli = findCli(executor, options);
  if (cli) options.onBegin(`executor ${executor.id}`);
  yield cli ? await checkVersion(cli, options) : notInstalled(executor);
}

function isAnyThere(options: ExecutorOptions): boolean {
  return options.executors.some((executor) => findCli(executor, options) !== undefined);
}

function noneOf(executors: readonly Executor[]): Check {
  const ids = executors.map(({ id }) => id);
  return {
    name: 'executors',
    state: 'fail',
    found: `none is installed of: ${ids.join(', ')}`,
    todo: `harnessd executors install ${ids[0]}`,
  };
}

async function* drive(scratch: Scratch, cli: Cli, { signal, onBegin }: ExecutorOptions): AsyncGenerator<Check, void> {
  const { id, provider, modes } = cli.executor;
  const steps = new Steps(scratch, cli.executor, signal);
  const take = async (step: Step, name: string, doIt: () => Promise<string>): Promise<Check> => {
    onBegin(name);
    const about = { name, executor: id, step };
    const began = performance.now();
    try {
      return { ...about, state: 'ok', found: await doIt(), seconds: secondsSince(began) };
    } catch (error) {
      signal.throwIfAborted();
      return { ...about, ...faultOf(error, cli), seconds: secondsSince(began) };
    }
  };

  const driven = await take('drives', `${id} drives`, () => steps.drives());
  yield driven;
  if (driven.state === 'fail') return; // the others would say the same
  yield await take('resumes', `${id} resumes`, () => steps.resumes());
  yield await take('tools', `${id} tools`, () => steps.tools());
  yield await take('cancels', `${id} cancels`, () => steps.cancels());
  for (const mode of modes) {
    if (mode === 'credits') continue; // the offline model was asked in this mode all along
    yield await take(mode, `${id} ${mode}`, () => steps.isPaidBy(mode));
  }
  if (provider !== undefined && !modes.includes('oauth'))
    yield {
      name: `${id} oauth`,
      executor: id,
      state: 'note',
      found: 'not driven: harnessd pays it by credits or a key; its own login asks the vendor before it asks a model',
    };
}

function faultOf(error: unknown, cli: Cli): Pick<Check, 'state' | 'found' | 'todo' | 'events'> {
  if (error instanceof TurnFault) {
    const { turn, message } = error;
    const todo = (turn && advice[endOf(turn).reason]) ?? todoFor(cli);
    return { state: 'fail', found: message, todo, ...(turn && { events: turn.events }) };
  }
  if (error instanceof DaemonError)
    return { state: 'fail', found: `${error.code}: ${error.message}`, todo: todoFor(cli) };
  throw error;
}

/** Where it is not the CLI that must be mended. */
const advice: Readonly<Partial<Record<Reason, string>>> = {
  provider_unreachable:
    'the offline model listens on 127.0.0.1: if HTTP_PROXY or HTTPS_PROXY is set, name that in NO_PROXY',
  wall_clock: 'it was too slow or stuck: try again when the computer has less to do',
  out_of_memory: 'free memory: an executor may need 1 GB',
  disk_full: 'free space on the disk of the temporary directory',
  host_lost: 'the pty host died: try again, and look into the system’s log for what killed it',
};
