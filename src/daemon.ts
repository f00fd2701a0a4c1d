import { randomUUID } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import pino, { type Logger } from 'pino';
import { executors as ownExecutors } from '../executors/index.ts';
import manifest from '../package.json' with { type: 'json' };
import { tools as ownTools } from '../tools/index.ts';
import { systemClock } from './base/clock.ts';
import { crashPoint } from './base/crash-point.ts';
import { writeFileAtomic } from './base/files.ts';
import type { Config } from './config/schema.ts';
import { openSecretFile, openToken, TokenCheck } from './credentials/token.ts';
import type { Executor } from './kit/executor.ts';
import type { Tool } from './kit/tool.ts';
import { openRules, readRules } from './open-rules.ts';
import { openTools } from './open-tools.ts';
import { findContainment } from './process/containment.ts';
import { identityOf } from './process/identity.ts';
import { DaemonError } from './protocol/errors.ts';
import { openHosts } from './pty-host/hosts.ts';
import { Connection } from './rpc/connection.ts';
import { createHandlers } from './rpc/create-handlers.ts';
import { lockState } from './store/instance-lock.ts';
import { openStateDir } from './store/state-dir.ts';
import { Store } from './store/store.ts';
import type { WriterThread } from './store/writer-thread.ts';
import { proxyPasswords } from './task/child-env.ts';
import { Layout } from './task/layout.ts';
import { OfflineProvider } from './task/offline-provider.ts';
import { Tasks } from './task/tasks.ts';
import { Listener } from './transport/listener.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Daemon {
  readonly url: string;
  /** Resolves when the daemon has stopped, whoever asked for it; rejects when it cannot go on. */
  readonly stopped: Promise<void>;
  /** Turns run on, unless they are to be ended. */
  stop(options: { endTurns: boolean }): Promise<void>;
}

/** What else than harnessd's own there is to run; for tests. */
export interface Parts {
  readonly executors?: readonly Executor[];
  readonly tools?: readonly Tool[];
}

const productDir = dirname(import.meta.dirname);
const loopback = ['127.0.0.1', '::1', 'localhost'];

/** Puts it all together, in the order in which one thing needs another; it is taken apart in reverse. */
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
  const crash = crashPoint(config.faults.crashAt, () => process.kill(process.pid, 'SIGKILL'));
  const logFile = join(stateDir, 'logs', 'pty-host.log');
  const { signal } = ending;
  const ruled = { config, env, productDir, executors, clock };
  const [store, hosts, containment, token, macKey, rules] = await Promise.all([
    Store.open({ stateDir, writer, crashAt: config.faults.crashAt }).then((opened) => stack.use(opened)),
    openHosts({ stateDir, containment: config.containment, logFile, ...config.hosts, signal }).then((opened) =>
      stack.use(opened),
    ),
    findContainment(config.containment),
    openToken(stateDir),
    openSecretFile(join(stateDir, 'mac-key')),
    readRules(ruled),
  ]);
  const computerId = await keep(store, 'computerId', randomUUID);
  const offline = new OfflineProvider({ stateDir, signal });
  const { credentials, policies, admission, installed } = openRules(ruled, rules, store);
  const layout = new Layout(stateDir);
  const home = config.home ?? homedir();
  const onStep = (step: string): void => {
    log.debug({ step }, 'step');
    crash(step);
  };
  const secrets = () => [token, ...credentials.all, ...proxyPasswords(env)];
  const about = { version: manifest.version, computerId, containment: containment.level, isolation: 'none' as const };
  const { registry, mcp } = openTools({
    config,
    env,
    tools,
    store,
    layout,
    home,
    installed,
    macKey,
    secrets,
    about,
    clock,
    log,
    onStep,
  });
  const door = Promise.withResolvers<string>();
  const tasks = new Tasks({
    executors,
    defaultExecutor: config.executors.default,
    macKey,
    services: {
      store,
      hosts,
      containment,
      layout,
      limits: config.turn,
      terminal: config.terminal,
      clock,
      log,
      onStep,
      home,
      daemonEnv: env,
      secrets: [token, ...rules.own.all, ...proxyPasswords(env)],
      admission,
      credentials,
      offlineCredential: () => offline.credential(),
      executor: (id) => installed.get(id),
      mcpUrl: () => door.promise,
      calls: registry,
    },
  });

  const bootId = randomUUID();
  const info = () => ({
    ...about,
    protocol: 'harness.v1' as const,
    bootId,
    pid: process.pid,
    startedAt,
    node: process.versions.node,
    libuv: process.versions.uv,
    latestId: store.latestId,
    defaultExecutor: config.executors.default,
  });
  const handlers = createHandlers({
    store,
    registry,
    tasks,
    stateDir,
    page: { maxEvents: config.limits.pageEvents, maxBytes: config.limits.pageBytes },
    info,
    policies,
    credentials,
    admission,
    installed,
    stop: (options) => void stop(options), // it logs its own failure
  });
  const tokenCheck = new TokenCheck(token);
  door.promise.catch(() => undefined); // told to the turns that wait for it
  stack.defer(async () => {
    door.reject(new Error('the daemon did not start')); // does nothing once it is open
    await tasks.detach(); // a start that fails lets go of what it took up
  });
  await registry.recover();
  await tasks.recover(); // before the door opens: what a peer adds meanwhile is none of an earlier daemon's leftovers
  const listener = stack.use(
    await openListener(store, config, {
      clock,
      isAuthorized: (authorization) => tokenCheck.accepts(authorization),
      readiness: () => ({
        ready: !ending.signal.aborted && store.isOpen,
        components: {
          store: store.isOpen ? 'ok' : 'failed',
          containment: containment.level,
          isolation: 'none',
          terminals: hosts.terminals().length,
          turns: tasks.openCount,
        },
      }),
      onChannel: (channel) => void new Connection({ channel, handlers, store, limits: config.limits, log }), // lives as long as its channel
      onMcp: (request, response) => mcp.answer(request, response),
    }),
  );

  door.resolve(`http://${new URL(listener.url).host}/mcp`);
  const presencePath = join(stateDir, 'daemon.json');
  await writeFileAtomic(
    presencePath,
    JSON.stringify({ ...self, url: listener.url, version: manifest.version, startedAt }),
    { isDurable: false },
  );
  log.info(
    { url: listener.url, stateDir, computerId, containment: containment.level, openTurns: tasks.openCount },
    'ready',
  );
  setImmediate(
    () =>
      void Promise.all([tasks.load(), registry.load()]).catch((error: unknown) =>
        log.error({ err: error }, 'code is missing'),
      ),
  );

  const resources = stack.move();
  void store.died.then((error) => {
    log.fatal({ err: error }, 'nothing can be recorded any more: the next start goes on from what is');
    stopped.reject(error);
    return stop({ endTurns: false });
  });
  const stopped = Promise.withResolvers<void>();
  let stopping: Promise<void> | undefined;

  function stop(options: { endTurns: boolean }): Promise<void> {
    stopping ??= shutDown(options).then(stopped.resolve, (error: unknown) => {
      log.error({ err: error }, 'stopping failed');
      stopped.resolve();
    });
    return stopping;
  }

  async function shutDown({ endTurns }: { endTurns: boolean }): Promise<void> {
    log.info({ endTurns, openTurns: tasks.openCount }, 'stopping');
    tasks.close();
    if (endTurns) await tasks.end();
    await registry.close();
    const isIdle = tasks.openCount === 0;
    await tasks.detach();
    ending.abort();
    if (isIdle) {
      await hosts.leave();
      await offline.end();
    }
    await rm(presencePath, { force: true });
    await resources.disposeAsync();
  }

  return { url: listener.url, stopped: stopped.promise, stop };
}

/** One JSON line per thing done, on standard error. What looks like a credential is left out, should one ever get this far. */
function openLog(level: string): Logger {
  const redact = { paths: ['*.authorization', '*.token', '*.env', '*.prompt', '*.credential'], censor: '[secret]' };
  return pino({ level, redact, base: { pid: process.pid } }, pino.destination({ fd: 2, sync: false }));
}

/** A value made once for the life of the state directory. */
async function keep(store: Store, key: string, make: () => string): Promise<string> {
  const kept = store.meta(key);
  if (kept !== undefined) return kept;
  const value = make();
  await store.write('keepMeta', { key, value });
  return value;
}

type ListenerParts = Omit<Parameters<typeof Listener.open>[0], keyof Config['listen'] | 'limits'>;

/** Port 0 is any port, but the same at the next start if it is free then. */
async function openListener(store: Store, { listen, limits }: Config, parts: ListenerParts): Promise<Listener> {
  const options = { ...listen, limits, ...parts };
  if (listen.port !== 0) return Listener.open(options);
  const kept = store.meta('port');
  if (kept !== undefined) {
    try {
      return await Listener.open({ ...options, port: Number(kept) });
    } catch (error) {
      if (!(error instanceof DaemonError) || error.code !== 'port_in_use') throw error;
    }
  }
  const listener = await Listener.open(options);
  await keep(store, 'port', () => String(listener.port));
  return listener;
}
