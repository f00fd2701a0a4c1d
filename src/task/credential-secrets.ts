import { parseJsonObject } from '../base/json.ts';
import { Secret } from '../base/secret.ts';
import type { Credential } from '../kit/executor.ts';

const tellsOfSecret = /token|secret|key|access|refresh|password|credential/i;

/** What must not be told of a credential: all of it, and of a file each string that stands below a telling name. */
export function secretsOf({ value, isFile }: Pick<Credential, 'value' | 'isFile'>): Secret[] {
  return isFile ? [value, ...stringsBelow(parseJsonObject(value.open()) ?? {})] : [value];
}

/** However deep the file goes. */
function stringsBelow(file: object): Secret[] {
  const found: Secret[] = [];
  const open = [{ inner: file, isSecret: false }];
  for (let next = open.pop(); next; next = open.pop()) {
    for (const [name, inner] of Object.entries(next.inner) as [string, unknown][]) {
      const isSecret = next.isSecret || tellsOfSecret.test(name);
      if (typeof inner === 'object' && inner !== null) open.push({ inner, isSecret });
      else if (typeof inner === 'string' && isSecret) found.push(new Secret(inner));
    }
  }
  return found;
}
