import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import manifest from '../package.json' with { type: 'json' };
import type { Clock } from './base/clock.ts';
import { crashPoint } from './base/crash-point.ts';
import { writeFileAtomic } from './base/files.ts';
import type { Secret } from './base/secret.ts';
import type { Config } from './config/schema.ts';
import { TokenCheck } from './credentials/token.ts';
import type { Executor } from './kit/executor.ts';
import type { Tool } from './kit/tool.ts';
import { openRules } from './open-rules.ts';
import { openTools } from './open-tools.ts';
import type { Containment } from './process/containment.ts';
import type { ProcessIdentity } from './process/identity.ts';
import { DaemonError } from './protocol/errors.ts';
import type { Hosts } from './pty-host/hosts.ts';
import type { Rules } from './read-rules.ts';
import { Connection } from './rpc/connection.ts';
import { createHandlers } from './rpc/create-handlers.ts';
import type { Store } from './store/store.ts';
import { proxyPasswords } from './task/child-env.ts';
import { Layout } from './task/layout.ts';
import { OfflineProvider } from './task/offline-provider.ts';
import { Tasks } from './task/tasks.ts';
import { Listener } from './transport/listener.ts';

export interface Daemon {
  readonly url: string;
  /** Resolves when the daemon has stopped, whoever asked for it; rejects when it cannot go on. */
  readonly stopped: Promise<void>;
  /** Turns run on, unless they are to be ended. */
  stop(options: { endTurns: boolean }): Promise<void>;
}

/** What has to be open before the rest can be. */
export interface Opened {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly executors: readonly Executor[];
  readonly tools: readonly Tool[];
  readonly clock: Clock;
  readonly startedAt: number;
  readonly self: ProcessIdentity;
  readonly log: Logger;
  /** Aborted when the daemon ends. */
  readonly ending: AbortController;
  readonly store: Store;
  readonly hosts: Hosts;
  readonly containment: Containment;
  readonly token: Secret;
  readonly macKey: Secret;
  readonly rules: Rules;
  /** Closes all of it. */
  readonly stack: AsyncDisposableStack;
}

const productDir = dirname(import.meta.dirname);

/** Puts it all together, in the order in which one thing needs another; it is taken apart in reverse. */
export async function assemble(opened: Opened): Promise<Daemon> {
  const { config, env, executors, tools, clock, startedAt, self, log, ending } = opened;
  const { store, hosts, containment, token, macKey, rules } = opened;
  await using stack = opened.stack;
  const { stateDir } = config;
  const { signal } = ending;
  const computerId = await keep(store, 'computerId', randomUUID);
  const offline = new OfflineProvider({ stateDir, signal });
  const { credentials, policies, admission, installed } = openRules(
    { config, productDir, executors, clock, store },
    rules,
  );
  const layout = new Layout(stateDir);
  const home = config.home ?? homedir();
  const crash = crashPoint(config.faults.crashAt, () => process.kill(process.pid, 'SIGKILL'));
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
