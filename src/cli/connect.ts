import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, type Client } from '../client/client.ts';
import type { Address } from '../client/connection.ts';
import { findDaemon } from '../client/find-daemon.ts';
import { stateDirOf } from '../config/load.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { Context, GlobalOptions } from './context.ts';

/** The daemon that the options and the environment name, or that of the state directory. */
export async function openClient({ env }: Context, options: GlobalOptions): Promise<Client> {
  return connect(await addressOf(env, options));
}

async function addressOf(env: Context['env'], options: GlobalOptions): Promise<Address> {
  const stateDir = stateDirOf(options.stateDir, env);
  const url = options.url ?? (env['HARNESSD_URL'] || undefined);
  const token = env['HARNESSD_TOKEN'] || undefined;
  if (url === undefined) {
    const found = await findDaemon(stateDir);
    return { url: found.url, token: token ?? found.token };
  }
  return { url, token: token ?? (await ownToken(stateDir)) };
}

async function ownToken(stateDir: string): Promise<string> {
  const path = join(stateDir, 'token');
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (cause) {
    throw new DaemonError('daemon_unreachable', `no token: set HARNESSD_TOKEN (there is none in ${path})`, { cause });
  }
}
