import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Context } from './cli/context.ts';

const { argv, env, stdin, stdout, stderr } = process;
enableCompileCache(join(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'harnessd', 'compile'));

/** What was reading is gone, as in `harnessd logs | head`: there is nobody to tell more to. */
const onPipeError = (error: NodeJS.ErrnoException): void => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
};
stdout.on('error', onPipeError);
stderr.on('error', () => undefined); // a daemon goes on without its log

const context: Context = {
  argv: argv.slice(2),
  env,
  stdin,
  stdout,
  stderr,
  productDir: dirname(import.meta.dirname),
  startDaemon: async (...given) => (await import('./daemon.ts')).startDaemon(...given),
};

const { main } = await import('./cli/program.ts');
const exitCode = await main(context);
stdout.write('', () => process.exit(exitCode)); // what was written before is out then
