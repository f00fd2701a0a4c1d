import { agent, BenchDaemon, Scratch } from './bench-daemon.ts';
import { atMost, show, type Figure } from './figure.ts';
import { runTurn } from './run-turn.ts';
import { median, quantile, repeat } from './statistics.ts';

const turns = 30;

export const launch: Figure = {
  name: 'launch',
  title: 'from task.create to the running CLI',
  method:
    `From before task.create is sent to the moment that the CLI itself reports as that of its first instruction (a shell script ` +
    `in place of the CLI, so its own start counts too); ${turns} turns one after another, host and daemon warm; p50.`,
  async measure() {
    await using scratch = await Scratch.make();
    await using daemon = await BenchDaemon.start(scratch, ['--executors-claude-binary', agent]);
    await repeat(5, () => launchMs(daemon));
    const times = await repeat(turns, () => launchMs(daemon));
    return [
      { title: 'p50', ...atMost(median(times), 20, 'ms') },
      { title: 'p90', value: show(quantile(times, 0.9), 'ms') },
    ];
  },
};

async function launchMs(daemon: BenchDaemon): Promise<number> {
  const { sentAt, events } = await runTurn(daemon);
  const startedAt = events.find(({ type }) => type === 'message.added')!.data['text'];
  return Number(startedAt) * 1000 - sentAt;
}
