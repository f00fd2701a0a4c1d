import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { DaemonError } from '../protocol/errors.ts';
import type { StoredEvent } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import { migrations } from './migrations.ts';
import {
  prepareReads,
  taskOf,
  turnOf,
  type EventRow,
  type GivenCredential,
  type Told,
  type TokenCounts,
} from './reads.ts';
import type { Position, TaskRow, TurnRow } from './rows.ts';
import { Writer } from './writer.ts';
import { startWriterThread, type WriterThread } from './writer-thread.ts';
import type { WriteArgs, WriteName, WriteResult } from './writes.ts';

/** Enough to tell of a turn; it may have said thousands of things. */
const maxTold = 200;
const reserveBytes = 4 * 1024 * 1024;

export interface Page {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

interface StoreOptions {
  readonly stateDir: string;
  /** Started earlier, to be there by now. */
  readonly writer?: WriterThread;
  readonly crashAt?: string | undefined;
}

/** What happened and what is: written by the writer's thread, read here in pages of a bounded size. */
export class Store implements AsyncDisposable {
  readonly #writer: Writer;
  readonly #db: Database.Database;
  readonly #statements: ReturnType<typeof prepareReads>;
  readonly #listeners = new Set<(position: Position) => void>();

  private constructor(writer: Writer, db: Database.Database) {
    this.#writer = writer;
    this.#db = db;
    this.#statements = prepareReads(db);
  }

  static async open({ stateDir, writer: thread = startWriterThread(), crashAt }: StoreOptions): Promise<Store> {
    const path = join(stateDir, 'harnessd.db');
    try {
      closeSync(openSync(path, 'a', 0o600)); // SQLite would make it readable by all; its other files take its mode
      const writer = await Writer.open(thread, { path, reservePath: join(stateDir, 'reserve'), reserveBytes, crashAt });
      try {
        return new Store(writer, new Database(path, { readonly: true, fileMustExist: true }));
      } catch (error) {
        await writer[Symbol.asyncDispose]();
        throw error;
      }
    } catch (error) {
      throw new DaemonError('store_unusable', `${path} cannot be used: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Whether anything can be recorded. */
  get isOpen(): boolean {
    return this.#writer.isOpen;
  }

  /** Resolves when nothing can be recorded any more, which only another start can mend. */
  get died(): Promise<Error> {
    return this.#writer.died;
  }

  /** Resolves when the write is durable and everyone who waits for events has been told. */
  async write<N extends WriteName>(
    name: N,
    args: WriteArgs<N>,
    options?: { urgent: boolean },
  ): Promise<WriteResult<N>> {
    const result = await this.#writer.write(name, args, options);
    if (result.position) this.#announce(result.position);
    return result;
  }

  #announce(position: Position): void {
    for (const listener of this.#listeners) listener(position);
  }

  /** Called after each commit that recorded events. */
  onCommitted(listener: (position: Position) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  get latestId(): number {
    return this.#statements.latestId.get()!.id;
  }

  get schemaVersion(): number {
    return migrations.length;
  }

  meta(key: string): string | undefined {
    return this.#statements.meta.get(key)?.value;
  }

  task(id: string): TaskRow | undefined {
    return taskOf(this.#statements.task.get(id));
  }

  /** Newest first, after (that is: older than) `before`, which may be deleted by now. */
  tasks(limit: number, before?: string): TaskRow[] {
    const known = before === undefined ? { ordinal: null } : this.#statements.taskOrdinal.get(before);
    if (!known) throw new DaemonError('task_not_found', `no task ${before}`);
    return this.#statements.tasks.all({ limit, before: known.ordinal }).map((row) => taskOf(row)!);
  }

  turn(id: string): TurnRow | undefined {
    return turnOf(this.#statements.turn.get(id));
  }

  turnsOf(taskId: TaskId): TurnRow[] {
    return this.#statements.turnsOf.all(taskId).map((row) => turnOf(row)!);
  }

  latestTurnOf(taskId: TaskId): TurnRow {
    return turnOf(this.#statements.latestTurnOf.get(taskId))!; // a task has at least one
  }

  /** Those that have not ended, in the order in which they were asked for. */
  openTurns(): TurnRow[] {
    return this.#statements.openTurns.all().map((row) => turnOf(row)!);
  }

  /** Turns that were started, whose terminals exist; newest first. */
  startedTurns(limit: number, taskId?: TaskId): TurnRow[] {
    return this.#statements.startedTurns.all({ limit, taskId: taskId ?? null }).map((row) => turnOf(row)!);
  }

  /** The executor session that a new turn of the task goes on with. */
  latestSession(taskId: TaskId, executor: string): string | undefined {
    return this.#statements.latestSession.get(taskId, executor)?.session;
  }

  /** Turns that started before this one in the same workspace, whosever task they are of; the newest first. */
  turnsBefore(turnId: TurnId, limit: number): TurnRow[] {
    return this.#statements.turnsBefore.all({ turnId, limit }).map((row) => turnOf(row)!);
  }

  /** What a turn's executor last said and which tools it called, in order. */
  toldBy(turnId: TurnId): Told[] {
    return this.#statements.toldBy
      .all(turnId, maxTold)
      .map(({ type, data }) => ({ type, data: JSON.parse(data) as Told['data'] }))
      .reverse();
  }

  /** What earlier turns of the conversation that a turn goes on with reported, in all. */
  usageBefore({ taskId, resumes, ordinal }: TurnRow): TokenCounts {
    return this.#statements.usageBefore.get(taskId, resumes ?? '', ordinal)!; // a sum of nothing is a row of zeros
  }

  /** The turn that runs with this token, if one does. */
  openTurnByToken(tokenHash: string): TurnRow | undefined {
    return turnOf(this.#statements.openTurnByToken.get(tokenHash));
  }

  /** Whether a tool was at work when this daemon, or an earlier one, last recorded something. */
  get hasOpenCalls(): boolean {
    return this.#statements.openCall.get() !== undefined;
  }

  /** Whether answers to calls outside a task are kept from before a time. */
  hasAnswersBefore(time: number): boolean {
    return this.#statements.oldAnswer.get(time) !== undefined;
  }

  /** Which credentials were given, by this daemon's peers or an earlier one's, and which were taken back since. */
  givenCredentials(): readonly GivenCredential[] {
    return this.#statements.credentials.all();
  }

  /** Whether a turn of the task was asked for under the client's id. */
  hasRequest(taskId: TaskId, requestId: string): boolean {
    return this.#statements.request.get(taskId, requestId) !== undefined;
  }

  promptOf(turnId: TurnId): string | undefined {
    return this.#statements.prompt.get(turnId)?.prompt;
  }

  /** Deleted tasks of which something is left. */
  tasksToErase(): TaskId[] {
    return this.#statements.tasksToErase.all().map(({ id }) => id);
  }

  eventsAfter(after: number, page: Page): StoredEvent[] {
    return readPage(this.#statements.eventsAfter.iterate(after, page.maxEvents), page.maxBytes);
  }

  taskEventsAfter(taskId: TaskId, after: number, page: Page): StoredEvent[] {
    return readPage(this.#statements.taskEventsAfter.iterate(taskId, after, page.maxEvents), page.maxBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer[Symbol.asyncDispose]();
    this.#db.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** At least one event, then as many as fit. */
function readPage(rows: IterableIterator<EventRow>, maxBytes: number): StoredEvent[] {
  const events: StoredEvent[] = [];
  let bytes = 0;
  for (const row of rows) {
    bytes += row.data.length;
    if (events.length > 0 && bytes > maxBytes) break;
    events.push({ ...row, data: JSON.parse(row.data) as StoredEvent['data'] });
  }
  return events;
}
