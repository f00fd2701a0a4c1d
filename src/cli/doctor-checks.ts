import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { errnoOf } from '../base/files.ts';
import { runtimeFault } from '../base/runtime.ts';
import { loadConfig, stateDirOf } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { findContainment } from '../process/containment.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { StoredEvent } from '../protocol/events.ts';
import type { Result } from '../protocol/methods.ts';
import type { PaymentMode } from '../protocol/payment.ts';
import { openClient } from './connect.ts';
import type { Context, GlobalOptions } from './context.ts';

export interface Check {
  readonly name: string;
  /** `note`: works, but somebody may want to know. */
  readonly state: 'ok' | 'note' | 'fail';
  readonly found: string;
  readonly todo?: string;
  /** Whom it is of, and what it was put through: a cell of the table. */
  readonly executor?: string;
  readonly step?: Step;
  readonly seconds?: number;
  /** Of the turn that did not do what it was to; how it ended comes last. */
  readonly events?: readonly StoredEvent[];
}

export type Step = 'version' | 'drives' | 'resumes' | 'tools' | 'cancels' | PaymentMode;

type Info = Result<'daemon.info'>;

/** Everything that harnessd needs of this computer, in the order in which a fault would show. */
export async function* computerChecks(
  context: Context,
  options: GlobalOptions,
  config: Config | DaemonError,
): AsyncGenerator<Check, void> {
  yield checkRuntime();
  yield* ['better-sqlite3', 'node-pty'].map(checkPackage);
  yield config instanceof DaemonError
    ? { name: 'configuration', state: 'fail', found: config.message, todo: 'mend it, or see "harnessd serve --help"' }
    : { name: 'configuration', state: 'ok', found: 'can be read' };
  yield await checkStateDir(stateDirOf(options.stateDir, context.env));
  const info = await daemonInfo(context, options);
  yield info instanceof DaemonError
    ? { name: 'daemon', state: 'note', found: info.message }
    : {
        name: 'daemon',
        state: 'ok',
        found: `harnessd ${info.version}, pid ${info.pid}, up since ${new Date(info.startedAt).toISOString()}`,
      };
  if (info instanceof DaemonError && !(config instanceof DaemonError)) yield await checkPort(config.listen);
  yield await checkContainment(info, config instanceof DaemonError ? 'auto' : config.containment);
  yield { name: 'isolation', state: 'note', found: 'none: turns run under the daemon’s own user' };
}

function checkRuntime(): Check {
  const { node, uv } = process.versions;
  const fault = runtimeFault({ node, uv });
  if (fault)
    return {
      name: 'runtime',
      state: 'fail',
      found: fault,
      todo: 'npm run setup, then start harnessd with runtime/harnessd',
    };
  return { name: 'runtime', state: 'ok', found: `Node ${node}, libuv ${uv}` };
}

async function checkPackage(name: string): Promise<Check> {
  try {
    await import(name);
    return { name, state: 'ok', found: 'loads' };
  } catch (error) {
    return {
      name,
      state: 'fail',
      found: error instanceof Error ? error.message.split('\n', 1)[0]! : String(error),
      todo: 'npm run setup',
    };
  }
}

export function readConfig({ env }: Context, { stateDir }: GlobalOptions): Config | DaemonError {
  try {
    return loadConfig({ env, flags: { stateDir } });
  } catch (error) {
    if (error instanceof DaemonError) return error;
    throw error;
  }
}

async function checkStateDir(stateDir: string): Promise<Check> {
  const name = 'state directory';
  try {
    const { mode, uid } = await stat(stateDir);
    const isOpen = (mode & 0o077) !== 0;
    if (isOpen)
      return {
        name,
        state: 'fail',
        found: `${stateDir} can be entered by others (${(mode & 0o777).toString(8)})`,
        todo: `chmod 700 ${stateDir}`,
      };
    await access(stateDir, constants.R_OK | constants.W_OK | constants.X_OK);
    return { name, state: 'ok', found: `${stateDir}, of user ${uid}` };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT')
      return { name, state: 'note', found: `${stateDir} is not there yet: the first start makes it` };
    return {
      name,
      state: 'fail',
      found: `${stateDir}: ${errnoOf(error)}`,
      todo: 'make it writable, or choose another with --state-dir',
    };
  }
}

async function daemonInfo(context: Context, options: GlobalOptions): Promise<Info | DaemonError> {
  try {
    await using client = await openClient(context, options);
    return await client.call('daemon.info', {});
  } catch (error) {
    if (error instanceof DaemonError) return error;
    throw error;
  }
}

async function checkPort({ host, port }: Config['listen']): Promise<Check> {
  const server = createServer();
  const fault = await new Promise<string | undefined>((resolve) => {
    server
      .once('error', (error) => resolve(errnoOf(error) ?? error.message))
      .listen({ host, port }, () => resolve(undefined));
  });
  server.close();
  const name = 'port';
  if (fault === undefined) return { name, state: 'ok', found: `${host}:${port} is free` };
  return {
    name,
    state: 'fail',
    found: `${host}:${port} cannot be listened on (${fault})`,
    todo: 'set listen.port to another, or 0 for any',
  };
}

async function checkContainment(info: Info | DaemonError, mode: Config['containment']): Promise<Check> {
  const level = info instanceof DaemonError ? (await findContainment(mode)).level : info.containment;
  const name = 'containment';
  if (level !== 'weak') return { name, state: 'ok', found: level };
  return {
    name,
    state: 'note',
    found: 'weak: no cgroup can be made here; turns are ended by process group, parent chain and environment marker',
  };
}
