import { DaemonError, errorKinds } from '../protocol/errors.ts';

export interface WireError {
  readonly number: number;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** The one way from something thrown to what a peer is told. What is no DaemonError is a fault of ours and tells nothing more. */
export function wireError(error: unknown): WireError {
  const told =
    error instanceof DaemonError
      ? error
      : new DaemonError('internal', 'a fault of the daemon; its log has the cause', { cause: error });
  const { number, fault, retry } = errorKinds[told.code];
  return { number, message: told.message, data: { code: told.code, fault, retry, ...told.data } };
}
