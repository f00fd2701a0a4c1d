import { Scratch } from './bench-daemon.ts';
import { atLeast, show, type Figure } from './figure.ts';
import { advance, createTurn, eventBytes, makeEvents, openStore, type BenchTurn } from './filled-store.ts';
import { median, quantile, repeat } from './statistics.ts';
import type { Store } from '../../src/store/store.ts';

const turns = 8;
const batchEvents = 50;
const batches = 50;
const rounds = 7;
const singles = 500;

export const append: Figure = {
  name: 'append',
  title: 'how fast events become durable',
  method:
    `Through the store as turns use it (synchronous=FULL, its writer's thread): ${turns} turns at once, each awaiting every batch of ` +
    `${batchEvents} events of ${eventBytes} bytes; ${rounds} rounds of ${turns * batchEvents * batches} events, median. ` +
    `Then ${singles} events, one at a time.`,
  async measure() {
    await using scratch = await Scratch.make();
    await using store = await openStore(scratch.stateDir);
    const open: BenchTurn[] = [];
    for (let index = 0; index < turns; index += 1) open.push(await createTurn(store, `${index}`));
    await fill(store, open);
    const rates = await repeat(rounds, () => fill(store, open));
    const latencies = await repeat(singles, () => appendOne(store, open[0]!));
    return [
      { title: 'batched', ...atLeast(median(rates), 20_000, 'events/s') },
      { title: 'one event, p50', value: show(median(latencies), 'ms', 2) },
      { title: 'one event, p99', value: show(quantile(latencies, 0.99), 'ms', 2) },
    ];
  },
};

/** Events a second. */
async function fill(store: Store, open: readonly BenchTurn[]): Promise<number> {
  const events = makeEvents(batchEvents);
  const before = performance.now();
  await Promise.all(
    open.map(async (turn) => {
      for (let batch = 0; batch < batches; batch += 1) await advance(store, turn, events);
    }),
  );
  return (1000 * turns * batchEvents * batches) / (performance.now() - before);
}

async function appendOne(store: Store, turn: BenchTurn): Promise<number> {
  const events = makeEvents(1);
  const before = performance.now();
  await advance(store, turn, events);
  return performance.now() - before;
}
