import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../base/hash.ts';
import { parseJsonObject } from '../base/json.ts';
import { Secret } from '../base/secret.ts';
import type { NewEvent } from '../protocol/events.ts';
import type { TurnRow } from '../store/rows.ts';
import type { TurnServices } from './turn-services.ts';

/**
 * Looks whether the executor refreshed the credential file that it was given: then the one before is void, and the new one
 * is kept until the control plane has taken it. Done again after a crash, it does the same.
 */
export async function takeRefreshed(
  services: TurnServices,
  { id, taskId, executor, member, lease }: TurnRow,
): Promise<NewEvent[]> {
  const { layout, credentials, clock } = services;
  const credentialFile = services.executor(executor)?.definition.credentialFile;
  if (lease === null || credentialFile === undefined) return [];
  const given = await readFile(layout.turn(id).credential, 'utf8').catch(() => undefined); // never launched
  const found = await readFile(join(layout.configDir(taskId, executor), credentialFile), 'utf8').catch(() => undefined); // removed by the executor
  if (given === undefined || found === undefined || sha256(found) === given) return [];
  if (!parseJsonObject(found)) return []; // an executor that was killed may have left half a file
  const ref = { executor, mode: 'oauth', ...(member !== null && { member }) } as const;
  const refreshed = { ...ref, refreshId: id, at: clock.now(), value: new Secret(found) };
  await credentials.refresh(refreshed, (current) => sha256(current) === given);
  return [{ type: 'credential.refreshed', data: { ...ref, refreshId: id } }];
}
