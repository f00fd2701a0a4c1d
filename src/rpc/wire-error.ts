import type { z } from 'zod';
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

/** Each wrong field with its path, in the error's data and, the first ones, in its message. */
export function invalidParams(method: string, { issues }: z.ZodError): DaemonError {
  const told = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: [...issue.path, key].join('.'), message: 'unknown field' }))
      : [{ path: issue.path.join('.'), message: issue.message }],
  );
  const text = told.slice(0, 3).map(({ path, message }) => `${path === '' ? 'params' : path}: ${message}`);
  return new DaemonError('invalid_params', `${method}: ${text.join('; ')}`, { data: { issues: told.slice(0, 20) } });
}
