import type { Database } from 'better-sqlite3';
import type { StoredEvent } from '../protocol/events.ts';
import type { TaskId } from '../protocol/ids.ts';
import type { TaskRow, TurnRow } from './rows.ts';

export interface TokenCounts {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
}

/** Times are milliseconds since the epoch. */
export interface GivenCredential {
  readonly key: string;
  readonly givenAt: number;
  readonly isCleared: 0 | 1;
}

/** A message or a tool call of a turn. */
export interface Told {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** As it is kept: its data is JSON. */
export type EventRow = Omit<StoredEvent, 'data'> & { readonly data: string };

type Raw<Row, Changed extends keyof Row, As> = Omit<Row, Changed> & Record<Changed, As>;
type RawTask = Raw<TaskRow, 'ownsWorkspace', number>;
type RawTurn = Raw<TurnRow, 'evidence', string | null>;

export function taskOf(row: RawTask | undefined): TaskRow | undefined {
  return row && { ...row, ownsWorkspace: row.ownsWorkspace === 1 };
}

export function turnOf(row: RawTurn | undefined): TurnRow | undefined {
  return row && { ...row, evidence: row.evidence === null ? null : (JSON.parse(row.evidence) as TurnRow['evidence']) };
}

const taskColumns = 'id, workspace, owns_workspace AS ownsWorkspace, created_at AS createdAt, latest_seq AS latestSeq';
const turnColumns = `id, task_id AS taskId, ordinal, executor, model, member, timeout_ms AS timeoutMs, state, queued_at AS queuedAt,
  started_at AS startedAt, deadline_at AS deadlineAt, active_at AS activeAt, ended_at AS endedAt, host_id AS hostId, waiting, lease, resumes, session,
  capture_offset AS captureOffset, stop_cause AS stopCause, outcome, reason, evidence`;
/** As the partial index of what is told of a turn has it: written so, that index is used. */
const inStory = `events.type IN ('message.added', 'tool.called', 'usage.reported')`;
const tokenSums = ['inputTokens', 'outputTokens', 'cacheReadTokens', 'cacheWriteTokens']
  .map((name) => `coalesce(sum(events.data ->> '${name}'), 0) AS ${name}`)
  .join(', ');
const eventColumns = 'id, seq, task_id AS taskId, turn_id AS turnId, at, type, data';

/** Every question that is asked of the store. None takes longer because more was recorded, but by what it asks for. */
export function prepareReads(db: Database) {
  return {
    latestId: db.prepare<[], { id: number }>('SELECT coalesce(max(id), 0) AS id FROM events'),
    meta: db.prepare<[string], { value: string }>('SELECT value FROM meta WHERE key = ?'),
    task: db.prepare<[string], RawTask>(`SELECT ${taskColumns} FROM tasks WHERE id = ? AND deleted_at IS NULL`),
    taskOrdinal: db.prepare<[string], { ordinal: number }>('SELECT ordinal FROM tasks WHERE id = ?'),
    tasks: db.prepare<[{ limit: number; before: number | null }], RawTask>(
      `SELECT ${taskColumns} FROM tasks WHERE deleted_at IS NULL AND (@before IS NULL OR ordinal < @before)
       ORDER BY ordinal DESC LIMIT @limit`,
    ),
    turn: db.prepare<[string], RawTurn>(`SELECT ${turnColumns} FROM turns WHERE id = ?`),
    turnsOf: db.prepare<[string], RawTurn>(`SELECT ${turnColumns} FROM turns WHERE task_id = ? ORDER BY ordinal`),
    latestTurnOf: db.prepare<[string], RawTurn>(
      `SELECT ${turnColumns} FROM turns WHERE task_id = ? ORDER BY ordinal DESC LIMIT 1`,
    ),
    openTurns: db.prepare<[], RawTurn>(
      `SELECT ${turnColumns} FROM turns WHERE state <> 'ended' ORDER BY queued_at, rowid`,
    ),
    startedTurns: db.prepare<[{ limit: number; taskId: string | null }], RawTurn>(
      `SELECT ${turnColumns} FROM turns WHERE started_at IS NOT NULL AND (@taskId IS NULL OR task_id = @taskId)
       AND task_id IN (SELECT id FROM tasks WHERE deleted_at IS NULL) ORDER BY rowid DESC LIMIT @limit`,
    ),
    latestSession: db.prepare<[string, string], { session: string }>(
      'SELECT session FROM turns WHERE task_id = ? AND executor = ? AND session IS NOT NULL ORDER BY ordinal DESC LIMIT 1',
    ),
    turnsBefore: db.prepare<[{ turnId: string; limit: number }], RawTurn>(
      `SELECT ${turnColumns} FROM turns
       WHERE task_id IN (
         SELECT id FROM tasks WHERE deleted_at IS NULL AND workspace =
           (SELECT workspace FROM tasks WHERE id = (SELECT task_id FROM turns WHERE id = @turnId))
       ) AND started_at IS NOT NULL AND rowid < (SELECT rowid FROM turns WHERE id = @turnId)
       ORDER BY rowid DESC LIMIT @limit`,
    ),
    toldBy: db.prepare<[string, number], { type: string; data: string }>(
      `SELECT type, data FROM events WHERE turn_id = ? AND ${inStory} AND type <> 'usage.reported' ORDER BY id DESC LIMIT ?`,
    ),
    usageBefore: db.prepare<[string, string, number], TokenCounts>(
      `SELECT ${tokenSums} FROM turns JOIN events ON events.turn_id = turns.id AND ${inStory} AND events.type = 'usage.reported'
       WHERE turns.task_id = ? AND turns.session = ? AND turns.ordinal < ?`,
    ),
    openTurnByToken: db.prepare<[string], RawTurn>(
      `SELECT ${turnColumns} FROM turns WHERE token_hash = ? AND state <> 'ended'`,
    ),
    openCall: db.prepare<[]>('SELECT 1 FROM calls WHERE outcome IS NULL LIMIT 1'),
    oldAnswer: db.prepare<[number]>(
      'SELECT 1 FROM calls WHERE task_id IS NULL AND outcome IS NOT NULL AND opened_at < ? LIMIT 1',
    ),
    credentials: db.prepare<[], GivenCredential>(
      'SELECT key, given_at AS givenAt, cleared_at IS NOT NULL AS isCleared FROM credentials ORDER BY key',
    ),
    request: db.prepare<[string, string]>('SELECT 1 FROM turns WHERE task_id = ? AND request_id = ?'),
    prompt: db.prepare<[string], { prompt: string }>(
      `SELECT data ->> 'prompt' AS prompt FROM events WHERE turn_id = ? AND type = 'turn.queued'`,
    ),
    tasksToErase: db.prepare<[], { id: TaskId }>('SELECT id FROM tasks WHERE deleted_at IS NOT NULL AND erased = 0'),
    eventsAfter: db.prepare<[number, number], EventRow>(
      `SELECT ${eventColumns} FROM events WHERE id > ? ORDER BY id LIMIT ?`,
    ),
    taskEventsAfter: db.prepare<[string, number, number], EventRow>(
      `SELECT ${eventColumns} FROM events WHERE task_id = ? AND seq > ? ORDER BY seq LIMIT ?`,
    ),
  };
}
