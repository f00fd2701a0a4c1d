import { randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { isDiskFull, removeTree, writeNewFile } from '../base/files.ts';
import type { Executor } from '../kit/executor.ts';
import { DaemonError } from '../protocol/errors.ts';
import { TaskId, TurnId } from '../protocol/ids.ts';
import type { Params, TaskSummary } from '../protocol/methods.ts';
import type { TaskRow, TurnRow } from '../store/rows.ts';
import type { Turn } from './turn.ts';
import { TurnQueue } from './turn-queue.ts';
import { readInputs, type TurnInputs } from './turn-inputs.ts';
import { TurnRequests, type Given, type TurnRequestsOptions } from './turn-requests.ts';
import { turnSummary } from './turn-summary.ts';
import { checkedWorkspace } from './workspace.ts';

interface TasksOptions extends TurnRequestsOptions {
  readonly executors: readonly Executor[];
  readonly defaultExecutor: string;
}

const erasedAtOnce = 1_000;

interface Ref {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
}

/** The tasks of the computer: made, gone on with, told of, deleted. */
export class Tasks {
  readonly #options: TasksOptions;
  readonly #requests: TurnRequests;
  readonly #queue: TurnQueue;
  #isClosed = false;
  /** Prompts that are being recorded: asked for before `close`, each is a turn soon. */
  readonly #making = new Set<Promise<Ref>>();
  #Turn: typeof Turn | undefined;

  constructor(options: TasksOptions) {
    this.#options = options;
    const { limits, log } = options.services;
    this.#requests = new TurnRequests(options);
    this.#queue = new TurnQueue({ concurrency: limits.concurrency, log });
  }

  /** The code that runs turns: needed by the first one, and loaded no later than just after the start, lest it be of another version. */
  async load(): Promise<void> {
    this.#Turn ??= (await import('./turn.ts')).Turn;
    await Promise.all(this.#options.executors.map((executor) => executor.parser()));
  }

  /** Goes on with what an earlier daemon left, and clears away what it had no time to. */
  async recover(): Promise<void> {
    const { store, layout, hosts, limits, log } = this.#options.services;
    const open = store.openTurns();
    const known = new Set<string>(open.map(({ id }) => id));
    const names = (await readdir(layout.turnsDir)).filter((name) => !known.has(name));
    const leftovers = names.flatMap((name) => TurnId.safeParse(name).data ?? []); // what else lies there is not ours
    await Promise.allSettled(leftovers.map((id) => layout.turn(id).removePlanned())); // before a turn makes them anew
    const strays = hosts.terminals().filter(({ id }) => !known.has(id));
    const clearing = [
      ...store.tasksToErase().map((taskId) => this.#erase(taskId)),
      ...leftovers.map((id) => layout.turn(id).remove()),
      ...strays.map(async ({ id, hostId, exit }) => {
        if (!exit) log.warn({ terminalId: id, hostId }, 'a terminal of no turn is ended');
        await (exit ? hosts.byId(hostId)?.forget(id) : hosts.byId(hostId)?.end({ id, graceMs: limits.graceMs }));
      }),
    ];
    for (const cleared of clearing)
      void cleared.catch((error: unknown) => log.error({ err: error }, 'not cleared away; the next start tries again'));
    if (open.length > 0) await this.load();
    const turns = await Promise.all(
      open.map(async (row) => this.#turn(row, await readInputs(layout.turn(row.id).inputs))),
    );
    this.#queue.add(...turns);
  }

  create(params: Params<'task.create'>): Promise<Ref> {
    return this.#tracked(this.#create(params));
  }

  prompt(params: Params<'task.prompt'>): Promise<Ref> {
    return this.#tracked(this.#prompt(params));
  }

  async #tracked(making: Promise<Ref>): Promise<Ref> {
    this.#making.add(making);
    try {
      return await making;
    } finally {
      this.#making.delete(making);
    }
  }

  async #create({ id, workspace, executor, model, ...given }: Params<'task.create'>): Promise<Ref> {
    const { services, defaultExecutor } = this.#options;
    const { store, layout, clock } = services;
    const body = { ...given, executor, model, workspace };
    const taskId = id ?? TaskId.parse(randomUUID());
    const isRetry = store.task(taskId) !== undefined;
    const definition = await this.#usable(executor ?? defaultExecutor, { isRetry });
    const place =
      workspace === undefined ? layout.workspace(taskId) : isRetry ? workspace : await checkedWorkspace(workspace);
    const turn = this.#requests.newTurn({ requestId: null, body, definition, model, isRetry, given });
    return this.#withInputs(turn.id, given, async () => {
      const task = { id: taskId, bodyMac: turn.bodyMac, workspace: place, ownsWorkspace: workspace === undefined };
      const created = await store.write('createTask', {
        task,
        turn,
        at: clock.now(),
        events: [{ type: 'task.created', data: { workspace: place } }, this.#requests.queued(turn, given)],
      });
      return { taskId, turnId: created.turnId, isNew: created.isNew };
    });
  }

  async #prompt({ taskId, id, executor, model, ...rest }: Params<'task.prompt'>): Promise<Ref> {
    const { store, clock } = this.#options.services;
    const last = store.latestTurnOf(this.#task(taskId).id);
    const body = { ...rest, executor, model };
    const isRetry = id !== undefined && store.hasRequest(taskId, id);
    const definition = await this.#usable(executor ?? last.executor, { isRetry });
    const sameModel = definition.id === last.executor ? last.model : undefined;
    const given = { ...rest, member: rest.member ?? last.member ?? undefined };
    const turn = this.#requests.newTurn({
      requestId: id ?? null,
      body,
      definition,
      model: model ?? sameModel,
      isRetry,
      given,
    });
    return this.#withInputs(turn.id, given, async () => {
      const added = await store.write('addTurn', {
        taskId,
        turn,
        at: clock.now(),
        events: [this.#requests.queued(turn, given)],
      });
      return { taskId, turnId: added.turnId, isNew: added.isNew };
    });
  }

  get(taskId: TaskId): TaskSummary {
    return this.#summary(this.#task(taskId), this.#options.services.store.turnsOf(taskId));
  }

  list({ limit, before }: Params<'task.list'>): { tasks: TaskSummary[]; more: boolean } {
    const { store } = this.#options.services;
    const found = store.tasks(limit + 1, before);
    const waiting = this.#queue.waiting();
    return {
      tasks: found.slice(0, limit).map((task) => this.#summary(task, [store.latestTurnOf(task.id)], waiting)),
      more: found.length > limit,
    };
  }

  /** Resolves when the cancel of each open turn is recorded. */
  async cancel(taskId: TaskId): Promise<TurnId[]> {
    this.#task(taskId);
    return this.#queue.stop('by_peer', taskId);
  }

  async delete(taskId: TaskId): Promise<void> {
    const { store, clock } = this.#options.services;
    this.#task(taskId);
    await store.write('deleteTask', { taskId, at: clock.now() });
    await this.#erase(taskId);
  }

  /** A credential or the policy has changed: who waited for it may go on. */
  reconsider(): void {
    this.#queue.pump();
  }

  /** How many turns have not ended. */
  get openCount(): number {
    return this.#queue.size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Takes no more tasks and turns. */
  close(): void {
    this.#isClosed = true;
  }

  /** Ends all turns and waits for it. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#making);
    await this.#queue.stop('by_stop');
    await this.#queue.settled();
  }

  /** Lets go of all turns: they run on. */
  async detach(): Promise<void> {
    await this.#queue.detach();
  }

  /** Keeps what was given in private files, durable before the turn is: a secret in it never gets into the database. */
  async #withInputs(turnId: TurnId, given: Given, record: () => Promise<Ref & { isNew: boolean }>): Promise<Ref> {
    const { services } = this.#options;
    const files = services.layout.turn(turnId);
    await this.load();
    try {
      await files.make();
      const { prompt, env, auth } = given;
      if (env || auth) await writeNewFile(files.inputs, JSON.stringify({ env, auth }), [files.dir]);
      await writeNewFile(files.prompt, prompt, [files.dir, services.layout.turnsDir]);
      services.onStep('create.written');
      const ref = await record();
      if (ref.isNew) {
        const row = services.store.turn(ref.turnId)!;
        this.#queue.add(this.#turn(row, { env, auth }));
      } else {
        await files.remove();
      }
      return { taskId: ref.taskId, turnId: ref.turnId };
    } catch (error) {
      await files.remove();
      throw storageError(error);
    }
  }

  async #usable(id: string, { isRetry }: { isRetry: boolean }): Promise<Executor> {
    if (this.#isClosed) throw new DaemonError('shutting_down', 'the daemon is stopping: come back');
    const { services } = this.#options;
    const executorIds = this.#options.executors.map((executor) => executor.id);
    const installed = services.executor(id);
    if (!installed)
      throw new DaemonError('executor_unknown', `no executor ${id}; there are: ${executorIds.join(', ')}`, {
        data: { executors: executorIds },
      });
    if (isRetry) return installed.definition; // what was answered once is answered again
    if (!installed.argv) {
      throw new DaemonError(
        'executor_unavailable',
        `${installed.definition.title} is not installed: ${installed.command}`,
        { data: { command: installed.command } },
      );
    }
    return installed.definition;
  }

  #turn(row: TurnRow, inputs: TurnInputs): Turn {
    const { services } = this.#options;
    return new this.#Turn!(services, services.store.task(row.taskId)!, row, inputs); // loaded by whoever made the row known
  }

  #task(taskId: TaskId): TaskRow {
    const task = this.#options.services.store.task(taskId);
    if (!task) throw new DaemonError('task_not_found', `no task ${taskId}`);
    return task;
  }

  #summary(task: TaskRow, rows: readonly TurnRow[], waiting = this.#queue.waiting()): TaskSummary {
    const { store } = this.#options.services;
    const turns = rows.map((row) =>
      turnSummary(row, { prompt: store.promptOf(row.id) ?? '', waiting: waiting.get(row.id) }),
    );
    return { taskId: task.id, workspace: task.workspace, createdAt: task.createdAt, latestSeq: task.latestSeq, turns };
  }

  /** Files first, then events, some at a time: until all is done, a restart knows that there is work left. */
  async #erase(taskId: TaskId): Promise<void> {
    const { store, layout } = this.#options.services;
    const paths = [
      layout.taskDir(taskId),
      layout.workspace(taskId),
      ...store.turnsOf(taskId).map(({ id }) => layout.terminalDir(id)),
    ];
    for (const path of paths) await removeTree(path);
    for (let after = 0, isDone = false; !isDone; after += erasedAtOnce) {
      ({ isDone } = await store.write('eraseEvents', { taskId, after, limit: erasedAtOnce }));
    }
  }
}

function storageError(error: unknown): unknown {
  if (!isDiskFull(error)) return error;
  return new DaemonError('storage_full', 'the disk of the state directory is full; nothing was recorded', {
    cause: error,
  });
}
