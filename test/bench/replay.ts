import { join } from 'node:path';
import Database from 'better-sqlite3';
import { WebSocket } from 'ws';
import { BenchDaemon, Scratch } from './bench-daemon.ts';
import { atMost, show, type Figure } from './figure.ts';
import { advance, createTurn, eventBytes, makeEvents, openStore } from './filled-store.ts';
import { median, repeat } from './statistics.ts';

const events = 100_000;
const batchEvents = 1_000;
const pageEvents = 500;
const rounds = 7;

export const replay: Figure = {
  name: 'replay',
  title: 'how fast a peer gets what it missed',
  method:
    `${events} events of ${eventBytes} bytes in a daemon's state directory; from event.subscribe {after: 0} on a plain ws client, which parses ` +
    `every frame and checks that no id is missing, to the last event; ${rounds} rounds, median. Against the same rows read in pages of ` +
    `${pageEvents} with better-sqlite3.`,
  async measure() {
    await using scratch = await Scratch.make();
    await fillStateDir(scratch.stateDir);
    await using daemon = await BenchDaemon.start(scratch);
    const address = await daemon.address();
    await replayMs(address);
    const replays = await repeat(rounds, () => replayMs(address));
    const reads = await repeat(rounds, () => readMs(scratch.stateDir));
    return [
      { title: 'over the WebSocket', ...atMost(median(replays), 1_000, 'ms', 0) },
      { title: 'rows alone', value: show(median(reads), 'ms', 0) },
      { title: 'ratio of the medians', value: show(median(replays) / median(reads), '×') },
    ];
  },
};

async function fillStateDir(stateDir: string): Promise<void> {
  await using store = await openStore(stateDir);
  const turn = await createTurn(store, 'replay');
  const batch = makeEvents(batchEvents);
  while (store.latestId < events) await advance(store, turn, batch);
}

async function replayMs({ url, token }: { url: string; token: string }): Promise<number> {
  const socket = new WebSocket(url, 'harness.v1', { headers: { authorization: `Bearer ${token}` } });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let before = 0;
  let last = 0;
  socket.on('error', reject);
  socket.on('close', () => reject(new Error(`closed after event ${last}`)));
  socket.on('open', () => {
    before = performance.now();
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'event.subscribe', params: { after: 0 } }));
  });
  socket.on('message', (data: Buffer) => {
    const { params } = JSON.parse(data.toString()) as { params?: { events: { id: number }[] } };
    for (const { id } of params?.events ?? []) {
      if (id !== last + 1) reject(new Error(`event ${id} follows ${last}`));
      last = id;
    }
    if (last >= events) resolve(performance.now() - before);
  });
  try {
    return await promise;
  } finally {
    socket.terminate();
  }
}

async function readMs(stateDir: string): Promise<number> {
  using db = openReadOnly(join(stateDir, 'harnessd.db'));
  const page = db.handle.prepare<[number, number], { id: number }>(
    'SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?',
  );
  const before = performance.now();
  for (let last = 0; last < events;) last = page.all(last, pageEvents).at(-1)!.id;
  return performance.now() - before;
}

function openReadOnly(path: string): Disposable & { readonly handle: Database.Database } {
  const handle = new Database(path, { readonly: true, fileMustExist: true });
  return { handle, [Symbol.dispose]: () => void handle.close() };
}
