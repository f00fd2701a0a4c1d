import { createHmac, randomUUID } from 'node:crypto';
import { access, constants, readdir, realpath, rm, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { canonicalJson } from '../base/canonical-json.ts';
import { syncDirectory, writeFileAtomic } from '../base/files.ts';
import { Mask } from '../base/mask.ts';
import type { Secret } from '../base/secret.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { StopCause } from '../protocol/events.ts';
import { TaskId, TurnId } from '../protocol/ids.ts';
import type { Params, TaskSummary, TurnSummary } from '../protocol/methods.ts';
import type { NewTurn, TaskRow, TurnRow } from '../store/rows.ts';
import { Turn } from './turn.ts';
import type { InstalledExecutor, TurnServices } from './turn-services.ts';

interface TasksOptions {
  readonly services: TurnServices;
  readonly executorIds: readonly string[];
  readonly defaultExecutor: string;
  /** Key of the HMACs by which a retried request is known. */
  readonly macKey: Secret;
}

const maxPromptShown = 200;
const erasedAtOnce = 1_000;
const minRetryMs = 500;
const maxRetryMs = 30_000;

interface Ref {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
}

/** The tasks of the computer. Turns of one workspace run one after another, others at once up to a limit. */
export class Tasks {
  readonly #options: TasksOptions;
  /** Turns that have not ended, in the order in which they were asked for. */
  readonly #open = new Map<TurnId, Turn>();
  readonly #running = new Map<TurnId, Promise<void>>();
  readonly #detached = new AbortController();
  #isClosed = false;

  constructor(options: TasksOptions) {
    this.#options = options;
  }

  /** Goes on with what an earlier daemon left, and clears away what it had no time to. */
  async recover(): Promise<void> {
    const { store, layout, hosts, limits, log } = this.#options.services;
    for (const taskId of store.deletedTasksWithEvents()) await this.#erase(taskId);
    const open = store.openTurns();
    const known = new Set<string>(open.map(({ id }) => id));
    for (const name of await readdir(layout.turnsDir).catch(() => [])) {
      if (!known.has(name)) await rm(join(layout.turnsDir, name), { recursive: true, force: true });
    }
    for (const { id, hostId, exit } of hosts.terminals()) {
      if (known.has(id)) continue;
      if (!exit) log.warn({ terminalId: id, hostId }, 'a terminal of no turn is ended');
      const host = hosts.byId(hostId);
      await (exit ? host?.forget(id) : host?.end({ id, graceMs: limits.graceMs }));
    }
    for (const row of open) this.#add(new Turn(this.#options.services, store.task(row.taskId)!, row));
    this.#pump();
  }

  async create({ id, prompt, executor, model, workspace, timeoutMs }: Params<'task.create'>): Promise<Ref> {
    const { services, defaultExecutor } = this.#options;
    const { store, layout, clock } = services;
    const body = { prompt, executor, model, workspace, timeoutMs };
    const taskId = id ?? TaskId.parse(randomUUID());
    const isRetry = store.task(taskId) !== undefined;
    const definition = await this.#usable(executor ?? defaultExecutor, { isRetry });
    const place =
      workspace === undefined ? layout.workspace(taskId) : isRetry ? workspace : await checkedWorkspace(workspace);
    const turn = this.#newTurn({
      requestId: null,
      body,
      executor: definition.id,
      model: model ?? definition.defaultModel,
      timeoutMs,
    });
    return this.#withPrompt(turn.id, prompt, async () => {
      const task = { id: taskId, bodyMac: turn.bodyMac, workspace: place, ownsWorkspace: workspace === undefined };
      const created = await store.write('createTask', {
        task,
        turn,
        at: clock.now(),
        events: [{ type: 'task.created', data: { workspace: place } }, this.#queued(turn, prompt)],
      });
      return { taskId, turnId: created.turnId, isNew: created.isNew };
    });
  }

  async prompt({ taskId, id, prompt, executor, model, timeoutMs }: Params<'task.prompt'>): Promise<Ref> {
    const { store, clock } = this.#options.services;
    const last = this.#turnsOf(this.#task(taskId)).at(-1)!; // a task has at least one turn
    const body = { prompt, executor, model, timeoutMs };
    const definition = await this.#usable(executor ?? last.executor, { isRetry: id !== undefined });
    const sameModel = definition.id === last.executor ? last.model : definition.defaultModel;
    const turn = this.#newTurn({
      requestId: id ?? null,
      body,
      executor: definition.id,
      model: model ?? sameModel,
      timeoutMs,
    });
    return this.#withPrompt(turn.id, prompt, async () => {
      const added = await store.write('addTurn', {
        taskId,
        turn,
        at: clock.now(),
        events: [this.#queued(turn, prompt)],
      });
      return { taskId, turnId: added.turnId, isNew: added.isNew };
    });
  }

  get(taskId: TaskId): TaskSummary {
    return this.#summary(this.#task(taskId));
  }

  list({ limit, before }: Params<'task.list'>): { tasks: TaskSummary[]; more: boolean } {
    const found = this.#options.services.store.tasks(limit + 1, before);
    return { tasks: found.slice(0, limit).map((task) => this.#summary(task)), more: found.length > limit };
  }

  /** Resolves when the cancel of each open turn is recorded; the last first, so that none starts in between. */
  async cancel(taskId: TaskId): Promise<TurnId[]> {
    this.#task(taskId);
    const open = [...this.#open.values()].filter((turn) => turn.taskId === taskId);
    await this.#stopAll(open, 'by_peer');
    return open.map(({ id }) => id);
  }

  async delete(taskId: TaskId): Promise<void> {
    const { store, clock } = this.#options.services;
    this.#task(taskId);
    if (store.turnsOf(taskId).some(({ state }) => state !== 'ended')) {
      throw new DaemonError('task_active', `task ${taskId} has a turn that has not ended: cancel it first`);
    }
    await store.write('deleteTask', { taskId, at: clock.now() });
    await this.#erase(taskId);
  }

  /** The turns that have not ended. */
  get openCount(): number {
    return this.#open.size;
  }

  /** Takes no more tasks and turns. */
  close(): void {
    this.#isClosed = true;
  }

  /** Ends all turns and waits for it. */
  async end(): Promise<void> {
    await this.#stopAll([...this.#open.values()], 'by_stop');
    await Promise.all(this.#running.values());
  }

  /** Lets go of all turns: they run on. */
  async detach(): Promise<void> {
    this.#detached.abort();
    for (const turn of this.#open.values()) turn.detach();
    await Promise.all(this.#running.values());
  }

  async #stopAll(turns: readonly Turn[], cause: StopCause): Promise<void> {
    for (const turn of turns.toReversed()) {
      await turn.stop(cause);
      if (turn.hasEnded) this.#open.delete(turn.id);
    }
    this.#pump();
  }

  #add(turn: Turn): void {
    this.#open.set(turn.id, turn);
  }

  /** Starts every turn whose turn it is. */
  #pump(): void {
    if (this.#detached.signal.aborted) return;
    const busy = new Set([...this.#running.keys()].map((id) => this.#open.get(id)?.workspace));
    for (const turn of this.#open.values()) {
      if (this.#running.has(turn.id)) continue;
      if (!busy.has(turn.workspace) && this.#running.size < this.#options.services.limits.concurrency)
        this.#start(turn);
      busy.add(turn.workspace);
    }
  }

  #start(turn: Turn): void {
    const run = this.#runUntilEnded(turn).finally(() => {
      this.#running.delete(turn.id);
      if (turn.hasEnded) this.#open.delete(turn.id);
      this.#pump();
    });
    this.#running.set(turn.id, run);
  }

  /** A turn can go on from any step: what fails for a reason of ours (no file descriptor left, say) is tried again. */
  async #runUntilEnded(turn: Turn): Promise<void> {
    const { log } = this.#options.services;
    const { signal } = this.#detached;
    for (let retryMs = minRetryMs; !turn.hasEnded && !signal.aborted; retryMs = Math.min(retryMs * 2, maxRetryMs)) {
      try {
        await turn.run();
        return;
      } catch (error) {
        log.error({ err: error, turnId: turn.id, retryMs }, 'a turn stumbled; it goes on');
        await delay(retryMs, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
      }
    }
  }

  /** Keeps the prompt in a private file, durable before the turn is: a secret in it never gets into the database. */
  async #withPrompt(turnId: TurnId, prompt: string, record: () => Promise<Ref & { isNew: boolean }>): Promise<Ref> {
    const { services } = this.#options;
    const files = services.layout.turn(turnId);
    try {
      await files.make();
      await writeFileAtomic(files.prompt, prompt);
      await syncDirectory(services.layout.turnsDir);
      services.onStep('create.written');
      const ref = await record();
      if (ref.isNew) {
        const row = services.store.turn(ref.turnId)!;
        this.#add(new Turn(services, services.store.task(ref.taskId)!, row));
        this.#pump();
      } else {
        await files.remove();
      }
      return { taskId: ref.taskId, turnId: ref.turnId };
    } catch (error) {
      await files.remove();
      throw storageError(error);
    }
  }

  async #usable(id: string, { isRetry }: { isRetry: boolean }): Promise<InstalledExecutor['definition']> {
    if (this.#isClosed) throw new DaemonError('shutting_down', 'the daemon is stopping: come back');
    const { services, executorIds } = this.#options;
    const installed = services.executor(id);
    if (!installed)
      throw new DaemonError('executor_unknown', `no executor ${id}; there are: ${executorIds.join(', ')}`, {
        data: { executors: executorIds },
      });
    if (isRetry) return installed.definition; // what was answered once is answered again
    if (!installed.binary) {
      throw new DaemonError(
        'executor_unavailable',
        `${installed.definition.title} is not installed: ${installed.command}`,
        { data: { command: installed.command } },
      );
    }
    await services.provider(installed.definition);
    return installed.definition;
  }

  #newTurn({
    requestId,
    body,
    executor,
    model,
    timeoutMs,
  }: Omit<NewTurn, 'id' | 'bodyMac' | 'timeoutMs'> & { body: object; timeoutMs: number | undefined }): NewTurn {
    const bodyMac = createHmac('sha256', this.#options.macKey.open()).update(canonicalJson(body)).digest('base64url');
    return { id: TurnId.parse(randomUUID()), requestId, bodyMac, executor, model, timeoutMs: timeoutMs ?? null };
  }

  #queued({ executor, model }: NewTurn, prompt: string) {
    const mask = new Mask(this.#options.services.secrets.map((secret) => secret.open()));
    return { type: 'turn.queued', data: { prompt: mask.text(prompt), executor, model } } as const;
  }

  #task(taskId: TaskId): TaskRow {
    const task = this.#options.services.store.task(taskId);
    if (!task) throw new DaemonError('task_not_found', `no task ${taskId}`);
    return task;
  }

  #turnsOf({ id }: TaskRow): TurnRow[] {
    return this.#options.services.store.turnsOf(id);
  }

  #summary(task: TaskRow): TaskSummary {
    const { store } = this.#options.services;
    const turns = this.#turnsOf(task).map((row) =>
      turnSummary(row, (store.promptOf(row.id) ?? '').slice(0, maxPromptShown)),
    );
    return { taskId: task.id, workspace: task.workspace, createdAt: task.createdAt, latestSeq: task.latestSeq, turns };
  }

  /** Files first, then events: while there are events, a restart knows that there is work left. */
  async #erase(taskId: TaskId): Promise<void> {
    const { store, layout } = this.#options.services;
    const paths = [
      layout.taskDir(taskId),
      layout.workspace(taskId),
      ...store.turnsOf(taskId).map(({ id }) => layout.terminalDir(id)),
    ];
    for (const path of paths) await rm(path, { recursive: true, force: true });
    for (;;) {
      const { erased } = await store.write('eraseEvents', { taskId, limit: erasedAtOnce });
      if (erased === 0) return;
    }
  }
}

function turnSummary(row: TurnRow, prompt: string): TurnSummary {
  const { startedAt, endedAt, stopCause, outcome, reason, evidence } = row;
  return {
    turnId: row.id,
    ordinal: row.ordinal,
    executor: row.executor,
    model: row.model,
    prompt,
    state: row.state,
    queuedAt: row.queuedAt,
    ...(stopCause !== null && { stopping: stopCause }),
    ...(outcome !== null && { outcome }),
    ...(reason !== null && { reason }),
    ...(evidence !== null && { evidence }),
    ...(startedAt !== null && { startedAt }),
    ...(endedAt !== null && { endedAt }),
  };
}

async function checkedWorkspace(path: string): Promise<string> {
  const refuse = (why: string, cause?: unknown): DaemonError =>
    new DaemonError('workspace_invalid', `workspace ${path}: ${why}`, { data: { path: 'workspace' }, cause });
  if (path.includes('\0') || !isAbsolute(path)) throw refuse('must be an absolute path');
  const found = await stat(path).catch((error: unknown) => {
    throw refuse('does not exist', error);
  });
  if (!found.isDirectory()) throw refuse('is not a directory');
  await access(path, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw refuse('cannot be written', error);
  });
  return realpath(path);
}

function storageError(error: unknown): unknown {
  const isFull =
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOSPC' || error.code === 'EFBIG' || error.code === 'EDQUOT');
  return isFull
    ? new DaemonError('storage_full', 'the disk of the state directory is full; nothing was recorded', { cause: error })
    : error;
}
