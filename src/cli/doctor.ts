import { executors } from '../../executors/index.ts';
import { closest } from '../base/closest.ts';
import { stateDirOf } from '../config/load.ts';
import { Config } from '../config/schema.ts';
import type { Executor } from '../kit/executor.ts';
import { DaemonError } from '../protocol/errors.ts';
import { exitCodes, UsageError, type Context, type GlobalOptions } from './context.ts';
import { computerChecks, readConfig, type Check } from './doctor-checks.ts';
import { drivingChecks, versionChecks } from './doctor-executors.ts';
import { createJsonReport, createReport, type Report } from './doctor-report.ts';
import { onInterrupt } from './interrupts.ts';

export interface DoctorOptions extends GlobalOptions {
  readonly json?: boolean;
  readonly quick?: boolean;
  /** Ids, or lists of them with commas. */
  readonly executor?: readonly string[];
}

/** Without these no daemon starts. */
const vital = ['runtime', 'better-sqlite3', 'node-pty', 'configuration'];

/** `harnessd doctor`: each check with what was found and what to do. */
export async function doctor(context: Context, options: DoctorOptions): Promise<number> {
  const chosen = choose(options.executor ?? []);
  const report = options.json ? createJsonReport(context) : createReport(context);
  const stop = new AbortController();
  using _interrupts = onInterrupt((count) => {
    stop.abort();
    if (count === 1) context.stderr.write('\nharnessd: ending what doctor has started\n');
  });
  try {
    for await (const check of allChecks({ context, options, chosen, report, signal: stop.signal })) {
      report.tell(check);
      stop.signal.throwIfAborted();
    }
  } catch (error) {
    if (stop.signal.aborted) return exitCodes.interrupted;
    throw error;
  }
  if (stop.signal.aborted) return exitCodes.interrupted; // while the last things were cleared away
  report.end();
  return report.failures === 0 ? exitCodes.success : exitCodes.failure;
}

interface Run {
  readonly context: Context;
  readonly options: DoctorOptions;
  readonly chosen: readonly Executor[];
  readonly report: Report;
  readonly signal: AbortSignal;
}

async function* allChecks({ context, options, chosen, report, signal }: Run): AsyncGenerator<Check, void> {
  const read = readConfig(context, options);
  let mayServe = true;
  for await (const check of computerChecks(context, options, read)) {
    if (check.state === 'fail' && vital.includes(check.name)) mayServe = false;
    yield check;
  }
  // That it cannot be read was told; the CLIs are there all the same.
  const config =
    read instanceof DaemonError ? Config.parse({ stateDir: stateDirOf(options.stateDir, context.env) }) : read;
  const run = { context, config, signal, executors: chosen, onBegin: (name: string) => report.begin(name) };
  yield* mayServe && !options.quick ? drivingChecks(run) : versionChecks(run);
}

function choose(asked: readonly string[]): readonly Executor[] {
  const ids = asked.flatMap((list) => list.split(',')).filter(Boolean);
  if (ids.length === 0) return executors;
  const known = executors.map(({ id }) => id);
  for (const id of ids.filter((each) => !known.includes(each))) {
    const near = closest(id, known);
    throw new UsageError(
      `--executor ${id}: there is no such executor; ${near ? `did you mean ${near}?` : `there are: ${known.join(', ')}`}`,
    );
  }
  return executors.filter(({ id }) => ids.includes(id));
}
