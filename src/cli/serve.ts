import { runtimeFault } from '../base/runtime.ts';
import { loadConfig } from '../config/load.ts';
import { listOptions } from '../config/options.ts';
import { DaemonError } from '../protocol/errors.ts';
import { exitCodes, type Context } from './context.ts';
import { onInterrupt } from './interrupts.ts';
import { attributeOf, type ServeFlags } from './plain-serve.ts';

/** `harnessd serve`: SIGTERM and Ctrl-C end the daemon and leave its turns running. */
export async function serve(context: Context, flags: ServeFlags): Promise<number> {
  const fault = runtimeFault({ node: process.versions.node, uv: process.versions.uv });
  if (fault !== undefined) throw new DaemonError('runtime_unsuitable', fault);
  const byKey = listOptions().map(({ key, flag }) => [key, flags[attributeOf(flag.slice(2))]] as const);
  const file = flags['config'];
  const config = loadConfig({
    env: context.env,
    flags: Object.fromEntries(byKey),
    ...(file !== undefined && { file }),
  });
  const asked = Promise.withResolvers<void>();
  using _interrupts = onInterrupt(() => asked.resolve());
  const daemon = await Promise.race([context.startDaemon(config, context.env), asked.promise]);
  if (!daemon) return exitCodes.success; // told to stop before it was up: nothing is lost by leaving at once
  await Promise.race([asked.promise.then(() => daemon.stop({ endTurns: false })), daemon.stopped]);
  return exitCodes.success;
}
