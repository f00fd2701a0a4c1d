import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { closest } from '../base/closest.ts';
import { installCli } from '../install/cli.ts';
import { openClient } from './connect.ts';
import { exitCodes, print, UsageError, type Context, type GlobalOptions } from './context.ts';
import { onInterrupt } from './interrupts.ts';
import { table } from './style.ts';

/** `harnessd executors list`: as the daemon sees them. */
export async function listExecutors(context: Context, options: GlobalOptions & { json?: boolean }): Promise<number> {
  await using client = await openClient(context, options);
  const { executors } = await client.call('executor.list', {});
  if (options.json) executors.forEach((executor) => print(context, JSON.stringify(executor)));
  else {
    const rows = executors.map(({ executor, title, available, version, defaultModel, command }) => [
      executor,
      title,
      version ?? '-',
      defaultModel,
      available ? 'installed' : `not installed: ${command ?? ''}`,
    ]);
    print(context, table([['EXECUTOR', 'NAME', 'VERSION', 'DEFAULT MODEL', 'STATE'], ...rows]));
  }
  return exitCodes.success;
}

/** `harnessd executors install`: needs no daemon. */
export async function installExecutor(context: Context, id: string): Promise<number> {
  const known = await pinnedClis(context.productDir);
  if (!known.includes(id)) {
    const near = closest(id, known);
    throw new UsageError(
      `there is no executor ${JSON.stringify(id)} to install; ${near ? `did you mean ${near}?` : `there are: ${known.join(', ')}`}`,
    );
  }
  const stopped = new AbortController();
  using _interrupts = onInterrupt(() => stopped.abort());
  const began = Date.now();
  try {
    const { version, changed } = await installCli(id, {
      productDir: context.productDir,
      env: context.env,
      signal: stopped.signal,
      onProgress: (line) => print(context, line),
    });
    const seconds = ((Date.now() - began) / 1_000).toFixed(1);
    print(context, changed ? `${id} ${version} is installed (${seconds} s)` : `${id} ${version} is installed already`);
    return exitCodes.success;
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
    context.stderr.write('harnessd: stopped; nothing was changed\n');
    return exitCodes.interrupted;
  }
}

/** The executors whose CLI this version pins. */
export async function pinnedClis(productDir: string): Promise<string[]> {
  const entries = await readdir(join(productDir, 'executors', 'cli'), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}
