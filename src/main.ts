import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { hasFilledCompileCache } from './base/warm-start.ts';
import type { Context } from './cli/context.ts';

const { argv, argv0, env, execArgv, execPath, stdin, stdout, stderr } = process;
const compileCache = join(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'harnessd', 'compile');
enableCompileCache(env['NODE_COMPILE_CACHE'] ?? compileCache);

/**
 * The same process once more, now with all its code compiled. What strips the types of code that is not stays in memory,
 * 40 MiB that a daemon does not need. Does nothing where the system cannot do it.
 */
function beginAgain(as: string): void {
  process.execve?.(execPath, [as, ...execArgv, ...argv.slice(1)], { NODE_COMPILE_CACHE: compileCache, ...env });
}

if (argv.includes('serve') && env['NODE_COMPILE_CACHE'] === undefined) beginAgain(argv0); // this file is compiled before it can say where

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
  startDaemon: async (...given) => {
    const writer = (await import('./store/writer-thread.ts')).startWriterThread(); // loads beside what follows
    const { startDaemon } = await import('./daemon.ts');
    if (argv0 !== 'harnessd' && hasFilledCompileCache()) beginAgain('harnessd');
    return startDaemon(...given, writer);
  },
};

const { main } = await import('./cli/command-line.ts');
const exitCode = await main(context);
stdout.write('', () => process.exit(exitCode)); // what was written before is out then
