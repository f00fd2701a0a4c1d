import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { agent, BenchDaemon, Scratch } from './bench-daemon.ts';
import { atMost, show, type Figure } from './figure.ts';
import { runTurn } from './run-turn.ts';
import { median, quantile } from './statistics.ts';

const turns = 30;
const warmUp = 5;

export const launch: Figure = {
  name: 'launch',
  title: 'from task.create to the running CLI',
  method:
    `From before task.create is sent to the time of pid.json, which the pty host writes when it has forked; ` +
    `${turns} turns one after another, host and daemon warm. The first instruction is told by the CLI itself, a shell script.`,
  async measure() {
    await using scratch = await Scratch.make();
    await using daemon = await BenchDaemon.start(scratch, ['--executors-binaries', `claude=${agent}`]);
    const measured: Launch[] = [];
    for (let turn = 0; turn < warmUp + turns; turn += 1) measured.push(await measureLaunch(daemon, scratch.stateDir));
    const spawned = measured.slice(warmUp).map(({ spawnedMs }) => spawnedMs);
    const running = measured.slice(warmUp).map(({ runningMs }) => runningMs);
    return [
      { title: 'spawned, p50', ...atMost(median(spawned), 20, 'ms') },
      { title: 'spawned, p90', value: show(quantile(spawned, 0.9), 'ms') },
      { title: 'its first instruction, p50', value: show(median(running), 'ms') },
    ];
  },
};

interface Launch {
  readonly spawnedMs: number;
  readonly runningMs: number;
}

async function measureLaunch(daemon: BenchDaemon, stateDir: string): Promise<Launch> {
  const { sentAt, events } = await runTurn(daemon);
  const said = events.find(({ type }) => type === 'message.added')!;
  const { mtimeMs } = await stat(join(stateDir, 'terminals', said.turnId!, 'pid.json'));
  return { spawnedMs: mtimeMs - sentAt, runningMs: Number(said.data['text']) * 1000 - sentAt };
}
