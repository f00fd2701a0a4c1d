import { createHmac, randomUUID } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalJson } from '../base/canonical-json.ts';
import { isDiskFull, removeTree, writeNewFile } from '../base/files.ts';
import { Mask } from '../base/mask.ts';
import type { Secret } from '../base/secret.ts';
import { DaemonError } from '../protocol/errors.ts';
import { TaskId, TurnId } from '../protocol/ids.ts';
import type { Params, TaskSummary } from '../protocol/methods.ts';
import type { NewTurn, TaskRow, TurnRow } from '../store/rows.ts';
import type { Turn } from './turn.ts';
import { TurnQueue } from './turn-queue.ts';
import type { InstalledExecutor, TurnServices } from './turn-services.ts';
import { turnSummary } from './turn-summary.ts';
import { checkedWorkspace } from './workspace.ts';

interface TasksOptions {
  readonly services: TurnServices;
  readonly executorIds: readonly string[];
  readonly defaultExecutor: string;
  /** Key of the HMACs by which a retried request is known. */
  readonly macKey: Secret;
}

const erasedAtOnce = 1_000;

interface Ref {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
}

/** The tasks of the computer: made, gone on with, told of, deleted. */
export class Tasks {
  readonly #options: TasksOptions;
  readonly #queue: TurnQueue;
  #isClosed = false;
  /** Prompts that are being recorded: asked for before `close`, each is a turn soon. */
  readonly #making = new Set<Promise<Ref>>();
  #Turn: typeof Turn | undefined;

  constructor(options: TasksOptions) {
    this.#options = options;
    const { limits, log } = options.services;
    this.#queue = new TurnQueue({ concurrency: limits.concurrency, log });
  }

  /** The code that runs turns: needed by the first one, and loaded no later than just after the start, lest it be of another version. */
  async load(): Promise<void> {
    this.#Turn ??= (await import('./turn.ts')).Turn;
  }

  /** Goes on with what an earlier daemon left, and clears away what it had no time to. */
  async recover(): Promise<void> {
    const { store, layout, hosts, limits, log } = this.#options.services;
    const open = store.openTurns();
    const known = new Set<string>(open.map(({ id }) => id));
    const leftovers = (await readdir(layout.turnsDir)).filter((name) => !known.has(name));
    const strays = hosts.terminals().filter(({ id }) => !known.has(id));
    const clearing = [
      ...store.tasksToErase().map((taskId) => this.#erase(taskId)),
      ...leftovers.map((name) => removeTree(join(layout.turnsDir, name))),
      ...strays.map(async ({ id, hostId, exit }) => {
        if (!exit) log.warn({ terminalId: id, hostId }, 'a terminal of no turn is ended');
        await (exit ? hosts.byId(hostId)?.forget(id) : hosts.byId(hostId)?.end({ id, graceMs: limits.graceMs }));
      }),
    ];
    for (const cleared of clearing)
      void cleared.catch((error: unknown) => log.error({ err: error }, 'not cleared away; the next start tries again'));
    if (open.length > 0) await this.load();
    this.#queue.add(...open.map((row) => this.#turn(row)));
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

  async #create({ id, prompt, executor, model, workspace, timeoutMs }: Params<'task.create'>): Promise<Ref> {
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

  async #prompt({ taskId, id, prompt, executor, model, timeoutMs }: Params<'task.prompt'>): Promise<Ref> {
    const { store, clock } = this.#options.services;
    const last = store.latestTurnOf(this.#task(taskId).id);
    const body = { prompt, executor, model, timeoutMs };
    const definition = await this.#usable(executor ?? last.executor, {
      isRetry: id !== undefined && store.hasRequest(taskId, id),
    });
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
    return this.#summary(this.#task(taskId), this.#options.services.store.turnsOf(taskId));
  }

  list({ limit, before }: Params<'task.list'>): { tasks: TaskSummary[]; more: boolean } {
    const { store } = this.#options.services;
    const found = store.tasks(limit + 1, before);
    return {
      tasks: found.slice(0, limit).map((task) => this.#summary(task, [store.latestTurnOf(task.id)])),
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

  /** Keeps the prompt in a private file, durable before the turn is: a secret in it never gets into the database. */
  async #withPrompt(turnId: TurnId, prompt: string, record: () => Promise<Ref & { isNew: boolean }>): Promise<Ref> {
    const { services } = this.#options;
    const files = services.layout.turn(turnId);
    await this.load();
    try {
      await files.make();
      await writeNewFile(files.prompt, prompt, [files.dir, services.layout.turnsDir]);
      services.onStep('create.written');
      const ref = await record();
      if (ref.isNew) {
        const row = services.store.turn(ref.turnId)!;
        this.#queue.add(this.#turn(row));
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
    if (!installed.argv) {
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

  #turn(row: TurnRow): Turn {
    const { services } = this.#options;
    return new this.#Turn!(services, services.store.task(row.taskId)!, row); // loaded by whoever made the row known
  }

  #task(taskId: TaskId): TaskRow {
    const task = this.#options.services.store.task(taskId);
    if (!task) throw new DaemonError('task_not_found', `no task ${taskId}`);
    return task;
  }

  #summary(task: TaskRow, rows: readonly TurnRow[]): TaskSummary {
    const { store } = this.#options.services;
    const turns = rows.map((row) => turnSummary(row, store.promptOf(row.id) ?? ''));
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
