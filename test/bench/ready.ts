import { once } from 'node:events';
import { join } from 'node:path';
import { BenchDaemon, Scratch, spawnReady } from './bench-daemon.ts';
import { atMost, show, type Figure } from './figure.ts';
import { median } from './statistics.ts';

const pairs = 15;
const onlyImports = join(import.meta.dirname, 'only-imports.mjs');

export const ready: Figure = {
  name: 'ready',
  title: 'how long the daemon takes to start',
  method:
    `From spawn to "ready" on standard error, on an existing state directory, against a process that only imports ws, pino, ` +
    `better-sqlite3 and zod; the same compile cache for both (NODE_COMPILE_CACHE, as the launcher sets it); ${pairs} pairs in turn after one to warm up; medians.`,
  async measure() {
    await using scratch = await Scratch.make();
    const daemon: number[] = [];
    const imports: number[] = [];
    for (let pair = -1; pair < pairs; pair += 1) {
      const baseline = await spawnReady([onlyImports], scratch.env);
      if (baseline.child.exitCode === null) await once(baseline.child, 'exit');
      const own = await startAndStop(scratch);
      if (pair < 0) continue;
      imports.push(baseline.readyMs);
      daemon.push(own);
    }
    return [
      { title: 'imports only', value: show(median(imports), 'ms', 0) },
      { title: 'daemon', value: show(median(daemon), 'ms', 0) },
      { title: 'ratio of the medians', ...atMost(median(daemon) / median(imports), 2, '×', 2) },
    ];
  },
};

async function startAndStop(scratch: Scratch): Promise<number> {
  await using daemon = await BenchDaemon.start(scratch);
  return daemon.readyMs;
}
