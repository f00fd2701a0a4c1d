import type { Database } from 'better-sqlite3';

/** Only ever appended to: the database's `user_version` counts how many have run. */
export const migrations: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

  CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    ordinal INTEGER NOT NULL UNIQUE,
    body_mac TEXT NOT NULL,
    workspace TEXT NOT NULL,
    owns_workspace INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    latest_seq INTEGER NOT NULL DEFAULT 0,
    deleted_at INTEGER,
    erased INTEGER NOT NULL DEFAULT 0
  );

  CREATE TABLE turns (
    id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (id),
    ordinal INTEGER NOT NULL,
    request_id TEXT,
    body_mac TEXT NOT NULL,
    executor TEXT NOT NULL,
    model TEXT NOT NULL,
    timeout_ms INTEGER,
    state TEXT NOT NULL,
    queued_at INTEGER NOT NULL,
    started_at INTEGER,
    deadline_at INTEGER,
    active_at INTEGER,
    ended_at INTEGER,
    host_id TEXT,
    resumes TEXT,
    session TEXT,
    capture_offset INTEGER NOT NULL DEFAULT 0,
    stop_cause TEXT,
    outcome TEXT,
    reason TEXT,
    evidence TEXT,
    UNIQUE (task_id, ordinal),
    UNIQUE (task_id, request_id)
  );
  CREATE INDEX turns_open ON turns (queued_at) WHERE state <> 'ended';

  CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    turn_id TEXT,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (task_id, seq)
  );
  CREATE INDEX tasks_to_erase ON tasks (id) WHERE deleted_at IS NOT NULL AND erased = 0;
  CREATE INDEX events_queued ON events (turn_id) WHERE type = 'turn.queued';
  `,
  `
  -- That a credential was given, and whether it was taken back; never what it is.
  CREATE TABLE credentials (key TEXT PRIMARY KEY, given_at INTEGER NOT NULL, cleared_at INTEGER) WITHOUT ROWID;

  ALTER TABLE turns ADD COLUMN member TEXT;
  ALTER TABLE turns ADD COLUMN waiting TEXT;
  ALTER TABLE turns ADD COLUMN lease TEXT;
  ALTER TABLE turns ADD COLUMN token_hash TEXT;
  CREATE UNIQUE INDEX turns_token ON turns (token_hash) WHERE token_hash IS NOT NULL;
  CREATE INDEX turns_session ON turns (task_id, session);
  CREATE INDEX tasks_workspace ON tasks (workspace);

  -- An event of the computer itself has no task.
  ALTER TABLE events RENAME TO events_of_tasks;
  DROP INDEX events_queued;
  CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    task_id TEXT,
    seq INTEGER,
    turn_id TEXT,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (task_id, seq)
  );
  INSERT INTO events SELECT id, task_id, seq, turn_id, at, type, data FROM events_of_tasks;
  DROP TABLE events_of_tasks;
  CREATE INDEX events_queued ON events (turn_id) WHERE type = 'turn.queued';
  CREATE INDEX events_story ON events (turn_id, id) WHERE type IN ('message.added', 'tool.called', 'usage.reported');
  `,
  `
  CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    body_mac TEXT NOT NULL,
    name TEXT NOT NULL,
    task_id TEXT,
    turn_id TEXT,
    is_kept INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    outcome TEXT,
    answer TEXT
  );
  CREATE INDEX calls_open ON calls (opened_at) WHERE outcome IS NULL;
  CREATE INDEX calls_of_none ON calls (opened_at) WHERE task_id IS NULL;
  CREATE INDEX calls_of_task ON calls (task_id) WHERE task_id IS NOT NULL;
  `,
];

/** Throws when the database was written by a newer harnessd. */
export function migrate(db: Database): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version > migrations.length) {
    throw new Error(
      `the database has schema ${version}, this harnessd knows ${migrations.length}: use the newer harnessd that wrote it`,
    );
  }
  if (version === migrations.length) return;
  db.transaction(() => {
    for (const sql of migrations.slice(version)) db.exec(sql);
    db.pragma(`user_version = ${migrations.length}`);
  }).exclusive();
}
