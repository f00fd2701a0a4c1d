import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { agent, BenchDaemon, Scratch } from './bench-daemon.ts';
import { atMost, show, type Figure } from './figure.ts';
import { runTurn } from './run-turn.ts';

const seconds = 60;
const settleMs = 3_000;
/** Linux counts processor time so, whatever the kernel's own clock is. */
const ticksPerSecond = 100;

export const idle: Figure = {
  name: 'idle',
  title: 'what the daemon and its pty host take while nothing happens',
  method:
    `A daemon started for the second time, after one short turn, connected to its pty host, no peer; memory from ` +
    `/proc/PID/smaps_rollup, user and system time of both with all threads from /proc/PID/stat over ${seconds} s.`,
  async measure() {
    await using scratch = await Scratch.make();
    const flags = ['--executors-binaries', `claude=${agent}`];
    await (await BenchDaemon.start(scratch, flags))[Symbol.asyncDispose](); // fills the compile cache
    await using daemon = await BenchDaemon.start(scratch, flags);
    await runTurn(daemon);
    await sleep(settleMs);
    const pids = [daemon.pid, ...(await hostPids(scratch.stateDir))];

    const before = await processorSeconds(pids);
    await sleep(seconds * 1000);
    const used = (await processorSeconds(pids)) - before;
    const memory = await Promise.all(pids.map(memoryOf));
    const sum = (kind: 'rss' | 'pss'): number => memory.reduce((total, of) => total + of[kind], 0);
    return [
      { title: 'daemon, RSS', value: show(memory[0]!.rss, 'MiB') },
      { title: 'pty host, RSS', value: show(sum('rss') - memory[0]!.rss, 'MiB') },
      { title: 'both, RSS', ...atMost(sum('rss'), 160, 'MiB') },
      { title: 'both, Pss (what they share counted once)', value: show(sum('pss'), 'MiB') },
      { title: `processor over ${seconds} s`, ...atMost((100 * used) / seconds, 0.2, '%', 3) },
    ];
  },
};

async function hostPids(stateDir: string): Promise<number[]> {
  const names = (await readdir(join(stateDir, 'hosts'))).filter((name) => /^\w+\.json$/.test(name));
  if (names.length !== 1) throw new Error(`one pty host should live, there are ${names.length}`);
  const texts = await Promise.all(names.map((name) => readFile(join(stateDir, 'hosts', name), 'utf8')));
  return texts.map((text) => (JSON.parse(text) as { pid: number }).pid);
}

async function memoryOf(pid: number): Promise<{ rss: number; pss: number }> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
  const mebibytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(text)![1]) / 1024;
  return { rss: mebibytes('Rss'), pss: mebibytes('Pss') };
}

async function processorSeconds(pids: readonly number[]): Promise<number> {
  const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8')));
  const ticks = stats.map((stat) => {
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // from field 3 on; utime is 14, stime 15
    return Number(fields[11]) + Number(fields[12]);
  });
  return ticks.reduce((sum, of) => sum + of, 0) / ticksPerSecond;
}
