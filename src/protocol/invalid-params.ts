import type { z } from 'zod';
import { DaemonError } from './errors.ts';

/** Each wrong field with its path, in the error's data and, the first ones, in its message. `of` is the method or tool, `whole` what it is given. */
export function invalidParams(of: string, { issues }: z.ZodError, whole = 'params'): DaemonError {
  const told = issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ path: [...issue.path, key].join('.'), message: 'unknown field' }))
      : [{ path: issue.path.join('.'), message: issue.message }],
  );
  const text = told.slice(0, 3).map(({ path, message }) => `${path === '' ? whole : path}: ${message}`);
  return new DaemonError('invalid_params', `${of}: ${text.join('; ')}`, { data: { issues: told.slice(0, 20) } });
}

/** One field of the params that fits the schema and yet cannot be. */
export function invalidField(path: string, message: string): DaemonError {
  return new DaemonError('invalid_params', `${path}: ${message}`, { data: { issues: [{ path, message }] } });
}
