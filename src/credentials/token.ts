import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, writeFileAtomic } from '../base/files.ts';
import { Secret } from '../base/secret.ts';

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** A bearer token by its hash: compared in constant time, whatever the length of what was offered. */
export class TokenCheck {
  readonly #hash: Buffer;

  constructor(token: Secret) {
    this.#hash = sha256(token.open());
  }

  /** Whether an Authorization header carries the token. */
  accepts(authorization: string | undefined): boolean {
    const offered = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    return offered !== undefined && timingSafeEqual(sha256(offered), this.#hash);
  }
}

/** The token with all scopes: made at the first start, kept in `token` (0600), read by the command line. */
export function openToken(stateDir: string): Promise<Secret> {
  return openSecretFile(join(stateDir, 'token'), 'hd_');
}

/** A random value made once for the life of the state directory, in a private file of its own. */
export async function openSecretFile(path: string, prefix = ''): Promise<Secret> {
  try {
    const value = (await readFile(path, 'utf8')).trim();
    if (value !== '') return new Secret(value);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const value = `${prefix}${randomBytes(32).toString('base64url')}`;
  await writeFileAtomic(path, `${value}\n`);
  return new Secret(value);
}
