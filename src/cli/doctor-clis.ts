import { execFile, type ExecFileException } from 'node:child_process';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../config/schema.ts';
import { isInstalled } from '../install/cli.ts';
import { versionOf } from '../install/pinned-version.ts';
import type { Executor } from '../kit/executor.ts';
import { installedProgram } from '../kit/program.ts';
import type { Context } from './context.ts';
import type { Check } from './doctor-checks.ts';
import { clip } from './style.ts';

const startMs = 60_000;

/** An executor's CLI as it is on this computer. */
export interface Cli {
  readonly executor: Executor;
  readonly argv: readonly [string, ...string[]];
  /** The one that the configuration names, instead of the installed one. */
  readonly isOwn: boolean;
}

export interface CliOptions {
  readonly context: Context;
  readonly config: Config;
  readonly signal: AbortSignal;
}

export function findCli(
  executor: Executor,
  { context: { productDir }, config }: Pick<CliOptions, 'context' | 'config'>,
): Cli | undefined {
  const prefix = `${executor.id}=`;
  const own = config.executors.binaries.find((entry) => entry.startsWith(prefix))?.slice(prefix.length);
  if (own !== undefined) return { executor, argv: [own], isOwn: true };
  const [program, ...args] = installedProgram(executor, join(productDir, 'executors', 'cli')) ?? [];
  return program === undefined ? undefined : { executor, argv: [program, ...args], isOwn: false };
}

/** A row of the table, and nothing that must be mended. */
export function notInstalled({ id }: Executor): Check {
  return {
    name: `executor ${id}`,
    executor: id,
    state: 'note',
    found: 'not installed',
    todo: `harnessd executors install ${id}`,
  };
}

/** What to do about a CLI that does not work. */
export function todoFor({ executor: { id }, argv, isOwn }: Cli): string {
  if (isOwn) return `executors.binaries names ${argv[0]}: run it by hand, or leave it out`;
  return `rm -r executors/cli/${id}/node_modules, then harnessd executors install ${id}`;
}

/** Runs the CLI for its version, with a HOME of its own. */
export async function checkVersion(cli: Cli, { context: { env, productDir }, signal }: CliOptions): Promise<Check> {
  const { executor, argv, isOwn } = cli;
  const about = { name: `executor ${executor.id}`, executor: executor.id, step: 'version' } as const;
  const began = performance.now();
  await using home = await mkdtempDisposable(join(tmpdir(), 'harnessd-version-'));
  const ended = await run([...argv, '--version'], { PATH: env['PATH'], HOME: home.path }, signal);
  const seconds = secondsSince(began);
  if (ended.fault !== undefined)
    return { ...about, state: 'fail', found: `its CLI does not start: ${ended.fault}`, todo: todoFor(cli), seconds };
  const said = clip(ended.said, 60);
  if (!isOwn && !(await isInstalled(executor.id, productDir)))
    return {
      ...about,
      state: 'note',
      found: `${said}; not what is pinned (${await versionOf(executor.id, productDir)}) for this computer`,
      todo: `harnessd executors install ${executor.id}`,
      seconds,
    };
  return { ...about, state: 'ok', found: said, seconds };
}

export function secondsSince(began: number): number {
  return Math.round(performance.now() - began) / 1_000;
}

type Ended = { readonly said: string; readonly fault?: undefined } | { readonly fault: string };

function run(
  [file, ...args]: readonly [string, ...string[]],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(file, args, { env, signal, timeout: startMs, killSignal: 'SIGKILL' }, (error, stdout, stderr) =>
      resolve(error ? { fault: faultOf(error, `${stderr}${stdout}`) } : { said: stdout }),
    );
  });
}

function faultOf({ code, killed, signal }: ExecFileException, words: string): string {
  const how = killed ? `nothing within ${startMs / 1_000} s` : signal ? `signal ${signal}` : `exit ${code}`;
  return words.trim() === '' ? how : `${how}: ${clip(words, 200)}`;
}
