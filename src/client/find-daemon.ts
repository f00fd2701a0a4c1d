import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf } from '../base/files.ts';
import { isAlive } from '../process/identity.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { Address } from './connection.ts';

/** What a running daemon leaves in `daemon.json` of its state directory. */
export const Presence = z.object({
  pid: z.int().positive(),
  /** Opaque: with the pid it names one process for ever. */
  startTime: z.string(),
  url: z.string(),
  version: z.string(),
  startedAt: z.int(),
});
export type Presence = z.infer<typeof Presence>;

export type FoundDaemon = Presence & Address;

/** The daemon of a state directory, with the token that its owner may read. */
export async function findDaemon(stateDir: string): Promise<FoundDaemon> {
  const none = (why: string, cause?: unknown): DaemonError =>
    new DaemonError(
      'daemon_unreachable',
      `no daemon is up for ${stateDir} (${why}): start one with "harnessd serve", or name another with --state-dir or --url`,
      { cause },
    );
  const text = await readFile(join(stateDir, 'daemon.json'), 'utf8').catch((error: unknown) => {
    throw errnoOf(error) === 'ENOENT'
      ? none('it has left no daemon.json', error)
      : none(`daemon.json cannot be read: ${errnoOf(error)}`, error);
  });
  const presence = Presence.safeParse(parse(text));
  if (!presence.success) throw none('daemon.json is of another version');
  if (!isAlive(presence.data)) throw none(`its process ${presence.data.pid} is gone`);
  const token = await readFile(join(stateDir, 'token'), 'utf8').catch((error: unknown) => {
    throw none(`its token cannot be read: ${errnoOf(error)}`, error);
  });
  return { ...presence.data, token: token.trim() };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // no presence
  }
}
