import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pino, { type Logger } from 'pino';
import { executors as ownExecutors } from '../executors/index.ts';
import { tools as ownTools } from '../tools/index.ts';
import type { Daemon } from './assemble.ts';
import { systemClock } from './base/clock.ts';
import type { Config } from './config/schema.ts';
import { openSecretFile, openToken } from './credentials/token.ts';
import type { Executor } from './kit/executor.ts';
import type { Tool } from './kit/tool.ts';
import { readRules } from './read-rules.ts';
import { findContainment } from './process/containment.ts';
import { identityOf } from './process/identity.ts';
import { DaemonError } from './protocol/errors.ts';
import { openHosts } from './pty-host/hosts.ts';
import { lockState } from './store/instance-lock.ts';
import { openStateDir } from './store/state-dir.ts';
import { Store } from './store/store.ts';
import type { WriterThread } from './store/writer-thread.ts';

export type { Daemon } from './assemble.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What else than harnessd's own there is to run; for tests. */
export interface Parts {
  readonly executors?: readonly Executor[];
  readonly tools?: readonly Tool[];
}

const productDir = dirname(import.meta.dirname);
const loopback = ['127.0.0.1', '::1', 'localhost'];

/** Opens what the daemon stands on, then has it put together; all is taken apart in reverse. */
export async function startDaemon(
  given: Config,
  env: Environment,
  writer: WriterThread,
  { executors = ownExecutors, tools = ownTools }: Parts = {},
): Promise<Daemon> {
  if (!loopback.includes(given.listen.host)) {
    throw new DaemonError(
      'config_invalid',
      `listen.host: ${given.listen.host} is not a loopback address, and the generated token is the only one`,
    );
  }
  await using stack = new AsyncDisposableStack();
  const clock = systemClock;
  const startedAt = clock.now();
  openStateDir(given.stateDir);
  const config = { ...given, stateDir: realpathSync(given.stateDir) }; // one name for it, however it was reached: workspaces are compared by theirs
  const { stateDir } = config;
  const self = identityOf(process.pid)!; // it runs
  stack.use(lockState(stateDir, self));
  const ending = new AbortController();

  const log = openLog(config.log.level);
  const logFile = join(stateDir, 'logs', 'pty-host.log');
  const { signal } = ending;
  const assembling = import('./assemble.ts'); // while the disk is waited for
  const [store, hosts, containment, token, macKey, rules] = await Promise.all([
    Store.open({ stateDir, writer, crashAt: config.faults.crashAt }).then((opened) => stack.use(opened)),
    openHosts({ stateDir, containment: config.containment, logFile, ...config.hosts, signal }).then((opened) =>
      stack.use(opened),
    ),
    findContainment(config.containment),
    openToken(stateDir),
    openSecretFile(join(stateDir, 'mac-key')),
    readRules({ config, env, productDir, executors }),
  ]);
  const { assemble } = await assembling;
  return await assemble({
    config,
    env,
    executors,
    tools,
    clock,
    startedAt,
    self,
    log,
    ending,
    store,
    hosts,
    containment,
    token,
    macKey,
    rules,
    stack: stack.move(),
  });
}

/** One JSON line per thing done, on standard error. What looks like a credential is left out, should one ever get this far. */
function openLog(level: string): Logger {
  const redact = { paths: ['*.authorization', '*.token', '*.env', '*.prompt', '*.credential'], censor: '[secret]' };
  return pino({ level, redact, base: { pid: process.pid } }, pino.destination({ fd: 2, sync: false }));
}
