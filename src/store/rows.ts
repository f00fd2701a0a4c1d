import type { Evidence, NewEvent, Outcome, Reason, StopCause, WaitReason } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';

/** A task as it is kept. */
export interface TaskRow {
  readonly id: TaskId;
  readonly workspace: string;
  readonly ownsWorkspace: boolean;
  readonly createdAt: number;
  readonly latestSeq: number;
}

export type TurnState = 'queued' | 'launching' | 'running' | 'ended';

/** A turn as it is kept. Times are milliseconds since the epoch, offsets are bytes. */
export interface TurnRow {
  readonly id: TurnId;
  readonly taskId: TaskId;
  readonly ordinal: number;
  readonly executor: string;
  readonly model: string;
  /** On whose behalf it runs. */
  readonly member: string | null;
  readonly timeoutMs: number | null;
  readonly state: TurnState;
  readonly queuedAt: number;
  readonly startedAt: number | null;
  readonly deadlineAt: number | null;
  readonly activeAt: number | null;
  readonly endedAt: number | null;
  /** The pty host that was asked to start it. */
  readonly hostId: string | null;
  /** The reason to wait that was told last. */
  readonly waiting: WaitReason | null;
  /** The credential file that it alone uses while it runs. */
  readonly lease: string | null;
  /** Executor session that it goes on with. */
  readonly resumes: string | null;
  /** Executor session that it reported. */
  readonly session: string | null;
  /** The capture is parsed, and its events are recorded, up to here: always the end of a line. */
  readonly captureOffset: number;
  readonly stopCause: StopCause | null;
  readonly outcome: Outcome | null;
  readonly reason: Reason | null;
  readonly evidence: Evidence | null;
}

/** What a step of a turn may change. */
export type TurnChange = Partial<
  Pick<
    TurnRow,
    | 'state'
    | 'startedAt'
    | 'deadlineAt'
    | 'activeAt'
    | 'endedAt'
    | 'hostId'
    | 'waiting'
    | 'lease'
    | 'resumes'
    | 'session'
    | 'captureOffset'
    | 'stopCause'
    | 'outcome'
    | 'reason'
    | 'evidence'
  >
> & {
  /** SHA-256 of the token by which the turn is known to harnessd's own tools. */
  readonly tokenHash?: string;
};

export interface NewTurn {
  readonly id: TurnId;
  /** The client's own id for the request, if it gave one. */
  readonly requestId: string | null;
  /** HMAC of the request's body, by which a retry is told from another request with the same id. */
  readonly bodyMac: string;
  readonly executor: string;
  readonly model: string;
  readonly member: string | null;
  readonly timeoutMs: number | null;
}

export interface NewTask {
  readonly id: TaskId;
  readonly bodyMac: string;
  readonly workspace: string;
  readonly ownsWorkspace: boolean;
}

/** Where the journal stands after a commit; an event of the computer itself has no task and no `seq`. */
export interface Position {
  readonly taskId: TaskId | null;
  readonly latestSeq: number | null;
  readonly latestId: number;
}

export type { NewEvent };
