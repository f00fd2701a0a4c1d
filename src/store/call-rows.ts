import type { TaskId, TurnId } from '../protocol/ids.ts';

export interface NewCall {
  readonly id: string;
  /** HMAC of what was asked for, by which a retry is told from another call with the same id. */
  readonly bodyMac: string;
  readonly name: string;
  readonly taskId: TaskId | null;
  readonly turnId: TurnId | null;
  /** The client chose the id, and may ask again. */
  readonly isKept: boolean;
}

/** A call of a tool as it is kept. */
export interface CallRow {
  readonly id: string;
  readonly bodyMac: string;
  readonly taskId: TaskId | null;
  readonly turnId: TurnId | null;
  /** Null while the call is open. */
  readonly outcome: 'ok' | 'error' | 'interrupted' | null;
  /** As JSON; null when the daemon was killed before there was one. */
  readonly answer: string | null;
}
