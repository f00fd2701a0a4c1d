import type { Database } from 'better-sqlite3';
import { DaemonError } from '../protocol/errors.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { CallRow, NewCall } from './call-rows.ts';
import type { NewEvent, Position } from './rows.ts';

type Append = (taskId: TaskId | null, turnId: TurnId | null, at: number, events: readonly NewEvent[]) => Position;
type OpenCall = Pick<CallRow, 'id' | 'taskId' | 'turnId'> & { readonly isKept: 0 | 1 };

/** How the calls of tools change: each is open from before its effect until what became of it is recorded. */
export function prepareCallWrites(db: Database, append: Append) {
  const findCall = db.prepare<[string], CallRow & OpenCall>(
    `SELECT id, body_mac AS bodyMac, task_id AS taskId, turn_id AS turnId, is_kept AS isKept, outcome, answer
     FROM calls WHERE id = ?`,
  );
  const findTask = db.prepare<[string]>('SELECT 1 FROM tasks WHERE id = ? AND deleted_at IS NULL');
  const insertCall = db.prepare(
    `INSERT INTO calls (id, body_mac, name, task_id, turn_id, is_kept, opened_at)
     VALUES (@id, @bodyMac, @name, @taskId, @turnId, @isKept, @at)`,
  );
  const keepAnswer = db.prepare<[string, string | null, string]>(
    'UPDATE calls SET outcome = ?, answer = ? WHERE id = ?',
  );
  const dropCall = db.prepare<[string]>('DELETE FROM calls WHERE id = ?');
  const openCalls = db.prepare<[], OpenCall>(
    `SELECT id, task_id AS taskId, turn_id AS turnId, is_kept AS isKept FROM calls WHERE outcome IS NULL
     ORDER BY opened_at, rowid`,
  );
  const dropOldAnswers = db.prepare<[number]>(
    'DELETE FROM calls WHERE task_id IS NULL AND outcome IS NOT NULL AND opened_at < ?',
  );
  const findOpenCall = db.prepare<[string]>('SELECT 1 FROM calls WHERE task_id = ? AND outcome IS NULL');
  const forgetAnswers = db.prepare<[string]>('UPDATE calls SET answer = NULL WHERE task_id = ?');

  /** What became of a call whose id nobody can ask for again stands in its event alone. */
  function close({ id, isKept }: OpenCall, outcome: NonNullable<CallRow['outcome']>, answer: string | null): void {
    if (isKept === 1) keepAnswer.run(outcome, answer, id);
    else dropCall.run(id);
  }

  return {
    /** A call, before its effect begins; or the one that was made under its id. */
    openCall({ call, events, at }: { call: NewCall; events: readonly NewEvent[]; at: number }) {
      const known = findCall.get(call.id);
      if (known) {
        if (known.bodyMac !== call.bodyMac)
          throw new DaemonError('conflict', `call ${call.id} was made with another body`);
        return { known: known as CallRow, position: undefined };
      }
      if (call.taskId !== null && !findTask.get(call.taskId))
        throw new DaemonError('task_not_found', `no task ${call.taskId}`);
      insertCall.run({ ...call, isKept: Number(call.isKept), at });
      return { known: undefined, position: append(call.taskId, call.turnId, at, events) };
    },

    closeCall({
      id,
      outcome,
      answer,
      events,
      at,
    }: {
      id: string;
      outcome: NonNullable<CallRow['outcome']>;
      answer: string;
      events: readonly NewEvent[];
      at: number;
    }) {
      const call = findCall.get(id)!; // opened before
      close(call, outcome, answer);
      return { position: append(call.taskId, call.turnId, at, events) };
    },

    /** Closes what a daemon that was killed left open: none of it is run again. */
    interruptCalls({ at }: { at: number }) {
      for (const call of openCalls.all()) {
        close(call, 'interrupted', null);
        append(call.taskId, call.turnId, at, [
          { type: 'tool.interrupted', data: { callId: call.id, reason: 'daemon_restarted' } },
        ]);
      }
      return { position: undefined }; // nobody listens yet
    },

    /** Answers to calls outside a task are kept for a time: a client that asks again so late is answered anew. */
    dropOldAnswers({ before }: { before: number }) {
      dropOldAnswers.run(before);
      return { position: undefined };
    },

    /** Of a task that is to be deleted no answer is kept. */
    forgetCalls({ taskId }: { taskId: TaskId }) {
      if (findOpenCall.get(taskId)) throw new DaemonError('task_active', `a tool is at work for task ${taskId}`);
      forgetAnswers.run(taskId);
      return { position: undefined };
    },
  };
}
