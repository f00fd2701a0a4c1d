import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../client/client.ts';
import { findDaemon, type FoundDaemon } from '../client/find-daemon.ts';
import { stateDirOf } from '../config/load.ts';
import { isAlive } from '../process/identity.ts';
import { DaemonError } from '../protocol/errors.ts';
import { exitCodes, print, type Context, type GlobalOptions } from './context.ts';

const waitMs = 60_000;

/** `harnessd stop`: asks the daemon to end and waits until its process is gone. Without a daemon there is nothing to do. */
export async function stop(context: Context, options: GlobalOptions & { endTurns?: boolean }): Promise<number> {
  const stateDir = stateDirOf(options.stateDir, context.env);
  const found = await findDaemon(stateDir).catch((error: unknown) => {
    if (error instanceof DaemonError && error.code === 'daemon_unreachable') return undefined;
    throw error;
  });
  if (!found || !isAlive(found)) {
    print(context, `no daemon is up for ${stateDir}`);
    return exitCodes.success;
  }
  const running = await stopDaemon(found, options.endTurns ?? false);
  print(
    context,
    `stopped the daemon (pid ${found.pid})${running > 0 ? `; ${running} turn${running === 1 ? ' runs' : 's run'} on` : ''}`,
  );
  return exitCodes.success;
}

/** Waits until the process is gone and says how many turns run on. One that is ending already is only waited for. */
export async function stopDaemon(found: FoundDaemon, endTurns: boolean): Promise<number> {
  const running = await askToStop(found, endTurns);
  for (const until = Date.now() + waitMs; isAlive(found); await sleep(20)) {
    if (Date.now() > until)
      throw new DaemonError('internal', `the daemon (pid ${found.pid}) has not ended after ${waitMs / 1_000} s`);
  }
  return running;
}

async function askToStop(found: FoundDaemon, endTurns: boolean): Promise<number> {
  try {
    await using client = await connect(found);
    return (await client.call('daemon.stop', { endTurns })).running;
  } catch (error) {
    if (error instanceof DaemonError && error.code === 'daemon_unreachable') return 0;
    throw error;
  }
}
