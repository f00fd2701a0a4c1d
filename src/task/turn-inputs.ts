import { readFile } from 'node:fs/promises';
import { errnoOf } from '../base/files.ts';
import { Secret } from '../base/secret.ts';
import type { Credential } from '../kit/executor.ts';
import type { Params } from '../protocol/methods.ts';
import { secretsOf } from './credential-secrets.ts';

/** What a turn was given beside its prompt; kept in a private file, for it may hold secrets. */
export type TurnInputs = Pick<Params<'task.create'>, 'env' | 'auth'>;

/** None were given: there is no file. */
export async function readInputs(path: string): Promise<TurnInputs> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return '{}';
    throw error;
  });
  return JSON.parse(text) as TurnInputs; // our own private file
}

/** The credential that came with the turn, for it alone. */
export function ownCredential({ auth }: TurnInputs): Credential | undefined {
  if (!auth) return undefined;
  const { mode, value, baseUrl } = auth;
  return { mode, value: new Secret(value.trim()), ...(baseUrl !== undefined && { baseUrl }) };
}

/** The environment that came with the turn; what is secret in it is never told. */
export function ownEnv({ env = {} }: TurnInputs): Record<string, string | Secret> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, typeof value === 'string' ? value : new Secret(value.secret)]),
  );
}

export function secretsIn(inputs: TurnInputs): Secret[] {
  const own = ownCredential(inputs);
  return [...(own ? secretsOf(own) : []), ...Object.values(ownEnv(inputs)).filter((value) => value instanceof Secret)];
}
