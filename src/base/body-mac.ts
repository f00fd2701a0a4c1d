import { createHmac } from 'node:crypto';
import { canonicalJson } from './canonical-json.ts';
import type { Secret } from './secret.ts';

/** By what a retried request is told from another with the same id, without keeping what it said. */
export function bodyMac(key: Secret, body: object): string {
  return createHmac('sha256', key.open()).update(canonicalJson(body)).digest('base64url');
}
