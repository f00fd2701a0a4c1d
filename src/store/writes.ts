import type { Database, Statement } from 'better-sqlite3';
import { DaemonError } from '../protocol/errors.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import { prepareCallWrites } from './call-writes.ts';
import type { NewEvent, NewTask, NewTurn, Position, TurnChange } from './rows.ts';

const columns: Readonly<Record<keyof TurnChange, string>> = {
  state: 'state',
  startedAt: 'started_at',
  deadlineAt: 'deadline_at',
  activeAt: 'active_at',
  endedAt: 'ended_at',
  hostId: 'host_id',
  waiting: 'waiting',
  lease: 'lease',
  tokenHash: 'token_hash',
  resumes: 'resumes',
  session: 'session',
  captureOffset: 'capture_offset',
  stopCause: 'stop_cause',
  outcome: 'outcome',
  reason: 'reason',
  evidence: 'evidence',
};

interface Given {
  readonly at: number;
}

/**
 * Every way in which the store changes. Each runs inside a transaction of the writer; the numbers of events are given
 * here, so that they have no gap whatever was rolled back.
 */
export function prepareWrites(db: Database) {
  const nextSeq = db.prepare<[string], { seq: number }>(
    'UPDATE tasks SET latest_seq = latest_seq + 1 WHERE id = ? RETURNING latest_seq AS seq',
  );
  const insertEvent = db.prepare<[string | null, number | null, string | null, number, string, string]>(
    'INSERT INTO events (id, task_id, seq, turn_id, at, type, data) VALUES ((SELECT coalesce(max(id), 0) + 1 FROM events), ?, ?, ?, ?, ?, ?)',
  );
  const findTask = db.prepare<[string], { bodyMac: string; deletedAt: number | null; firstTurn: TurnId }>(
    `SELECT body_mac AS bodyMac, deleted_at AS deletedAt, (SELECT id FROM turns WHERE task_id = tasks.id AND ordinal = 1) AS firstTurn
     FROM tasks WHERE id = ?`,
  );
  const insertTask = db.prepare<[string, string, string, number, number]>(
    `INSERT INTO tasks (id, ordinal, body_mac, workspace, owns_workspace, created_at)
     VALUES (?, (SELECT coalesce(max(ordinal), 0) + 1 FROM tasks), ?, ?, ?, ?)`,
  );
  const findRequest = db.prepare<[string, string | null], { id: TurnId; bodyMac: string }>(
    'SELECT id, body_mac AS bodyMac FROM turns WHERE task_id = ? AND request_id = ?',
  );
  const insertTurn = db.prepare(
    `INSERT INTO turns (id, task_id, ordinal, request_id, body_mac, executor, model, member, timeout_ms, state, queued_at)
     VALUES (@id, @taskId, (SELECT count(*) + 1 FROM turns WHERE task_id = @taskId), @requestId, @bodyMac, @executor, @model, @member, @timeoutMs, 'queued', @at)`,
  );
  const latestId = db.prepare<[], { id: number }>('SELECT coalesce(max(id), 0) AS id FROM events');
  const latestSeq = db.prepare<[string], { seq: number }>('SELECT latest_seq AS seq FROM tasks WHERE id = ?');
  const setMeta = db.prepare<[string, string]>('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING');
  const replaceMeta = db.prepare<[string, string]>(
    'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
  );
  const noteCredential = db.prepare<[string, number]>(
    'INSERT INTO credentials (key, given_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET given_at = excluded.given_at, cleared_at = NULL',
  );
  const clearCredential = db.prepare<[number, string]>('UPDATE credentials SET cleared_at = ? WHERE key = ?');
  const findOpenTurn = db.prepare<[string]>("SELECT 1 FROM turns WHERE task_id = ? AND state <> 'ended'");
  const findGuest = db.prepare<[{ taskId: string }], { id: string }>(
    `SELECT id FROM tasks WHERE deleted_at IS NULL AND id <> @taskId AND workspace =
       (SELECT workspace FROM tasks WHERE id = @taskId AND owns_workspace = 1) LIMIT 1`,
  );
  const markDeleted = db.prepare<[number, string]>(
    'UPDATE tasks SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL',
  );
  const forgetTurns = db.prepare<[string]>(
    'UPDATE turns SET session = NULL, evidence = NULL, token_hash = NULL WHERE task_id = ?',
  );
  const eraseEvents = db.prepare<[string, number, number]>(
    `UPDATE events SET type = 'event.erased', data = '{}'
     WHERE task_id = ? AND seq > ? AND seq <= ? AND type NOT IN ('event.erased', 'task.deleted')`,
  );
  const markErased = db.prepare<[string]>('UPDATE tasks SET erased = 1 WHERE id = ?');

  const updates = new Map<string, Statement>();

  /** Turns change in few combinations of columns: one statement each, kept. */
  function updateTurn(names: readonly (keyof TurnChange)[]): Statement {
    const assignments = names.map((name) => `${columns[name]} = ?`).join(', ');
    const update = updates.get(assignments) ?? db.prepare(`UPDATE turns SET ${assignments} WHERE id = ?`);
    updates.set(assignments, update);
    return update;
  }

  function append(taskId: TaskId | null, turnId: TurnId | null, at: number, events: readonly NewEvent[]): Position {
    for (const { type, data } of events) {
      const seq = taskId === null ? null : nextSeq.get(taskId)!.seq;
      insertEvent.run(taskId, seq, turnId, at, type, JSON.stringify(data));
    }
    const seq = taskId === null ? null : latestSeq.get(taskId)!.seq;
    return { taskId, latestSeq: seq, latestId: latestId.get()!.id };
  }

  const calls = prepareCallWrites(db, append);

  return {
    ...calls,

    /** A task with its first turn, or the answer of the first time. */
    createTask({ task, turn, events, at }: { task: NewTask; turn: NewTurn; events: readonly NewEvent[] } & Given) {
      const known = findTask.get(task.id);
      if (known) {
        if (known.deletedAt !== null)
          throw new DaemonError('conflict', `task ${task.id} was deleted; its id is not used again`);
        if (known.bodyMac !== task.bodyMac)
          throw new DaemonError('conflict', `task ${task.id} exists with another body`);
        return { turnId: known.firstTurn, isNew: false, position: undefined };
      }
      insertTask.run(task.id, task.bodyMac, task.workspace, Number(task.ownsWorkspace), at);
      insertTurn.run({ ...turn, taskId: task.id, at });
      return { turnId: turn.id, isNew: true, position: append(task.id, turn.id, at, events) };
    },

    /** Another turn of a task, or the answer of the first time. */
    addTurn({ taskId, turn, events, at }: { taskId: TaskId; turn: NewTurn; events: readonly NewEvent[] } & Given) {
      const task = findTask.get(taskId);
      if (!task || task.deletedAt !== null) throw new DaemonError('task_not_found', `no task ${taskId}`);
      const known = turn.requestId === null ? undefined : findRequest.get(taskId, turn.requestId);
      if (known) {
        if (known.bodyMac !== turn.bodyMac)
          throw new DaemonError('conflict', `request ${turn.requestId} was made with another body`);
        return { turnId: known.id, isNew: false, position: undefined };
      }
      insertTurn.run({ ...turn, taskId, at });
      return { turnId: turn.id, isNew: true, position: append(taskId, turn.id, at, events) };
    },

    /** A step of a turn: what changed and the events that tell of it, together or not at all. */
    advance({
      taskId,
      turnId,
      change,
      events,
      at,
    }: { taskId: TaskId; turnId: TurnId; change: TurnChange; events: readonly NewEvent[] } & Given) {
      const names = Object.keys(change) as (keyof TurnChange)[];
      if (names.length > 0) {
        const values = names.map((name) => (name === 'evidence' ? JSON.stringify(change.evidence) : change[name]));
        updateTurn(names).run(...values, turnId);
      }
      return { position: append(taskId, turnId, at, events) };
    },

    /** Events that change nothing else; without a task they are the computer's own. */
    record({
      taskId,
      turnId,
      events,
      at,
    }: { taskId: TaskId | null; turnId: TurnId | null; events: readonly NewEvent[] } & Given) {
      return { position: append(taskId, turnId, at, events) };
    },

    /** Of an ended task only its id, and where its events were, is kept. */
    deleteTask({ taskId, at }: { taskId: TaskId } & Given) {
      const guest = findGuest.get({ taskId });
      if (guest) {
        throw new DaemonError(
          'task_active',
          `task ${guest.id} works in the workspace that is task ${taskId}’s own: delete it first`,
        );
      }
      if (findOpenTurn.get(taskId)) {
        throw new DaemonError('task_active', `task ${taskId} has a turn that has not ended: cancel it first`);
      }
      calls.forgetCalls({ taskId });
      if (markDeleted.run(at, taskId).changes === 0) throw new DaemonError('task_not_found', `no task ${taskId}`);
      forgetTurns.run(taskId);
      return { position: append(taskId, null, at, [{ type: 'task.deleted', data: {} }]) };
    },

    /** Erases some of a deleted task's events, those after a `seq`. Called until it is done, so that no commit is long. */
    eraseEvents({ taskId, after, limit }: { taskId: TaskId; after: number; limit: number }) {
      eraseEvents.run(taskId, after, after + limit);
      const isDone = latestSeq.get(taskId)!.seq <= after + limit;
      if (isDone) markErased.run(taskId);
      return { isDone, position: undefined };
    },

    /** A value that may change, with the event that tells of it. */
    setMeta({ key, value, events, at }: { key: string; value: string; events: readonly NewEvent[] } & Given) {
      replaceMeta.run(key, value);
      return { position: append(null, null, at, events) };
    },

    /** That a credential was given, or taken back. */
    noteCredential({
      key,
      isGiven,
      events,
      at,
    }: { key: string; isGiven: boolean; events: readonly NewEvent[] } & Given) {
      if (isGiven) noteCredential.run(key, at);
      else clearCredential.run(at, key);
      return { position: append(null, null, at, events) };
    },

    /** Keeps a value that is set once. */
    keepMeta({ key, value }: { key: string; value: string }) {
      setMeta.run(key, value);
      return { position: undefined };
    },
  };
}

export type Writes = ReturnType<typeof prepareWrites>;
export type WriteName = keyof Writes;
export type WriteArgs<N extends WriteName> = Parameters<Writes[N]>[0];
export type WriteResult<N extends WriteName> = ReturnType<Writes[N]>;
