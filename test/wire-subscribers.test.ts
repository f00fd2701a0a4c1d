import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import { TaskId } from '../src/protocol/ids.ts';
import { programs, startDaemon, type TestDaemon } from './support/daemon.ts';
import { openPeer, type Peer } from './support/peer.ts';

const MiB = 1024 * 1024;
let daemon: TestDaemon;

beforeAll(async () => {
  daemon = await startDaemon({
    flags: { 'executors-binaries': `claude=${join(programs, 'fake-claude.mjs')}`, 'limits-page-events': 7 },
  });
});
afterAll(() => daemon[Symbol.asyncDispose]());

interface Ref {
  taskId: string;
  turnId: string;
}

/** A task that says so many lines, some of them in one write and some apart. */
async function chatter(peer: Peer, lines: number): Promise<Ref> {
  const said = Array.from({ length: lines }, (_, n) => `say line ${n}${n % 9 === 0 ? '\nsleep 3' : ''}`);
  return (await peer.call('task.create', { prompt: [...said, 'result'].join('\n') })) as unknown as Ref;
}

const hasEnded = (events: StoredEvent[], turnId: string): true | undefined =>
  events.some((event) => event.turnId === turnId && event.type === 'turn.ended') || undefined;

/** What the database holds, read by another connection. */
function stored(
  sql = 'SELECT * FROM events ORDER BY id',
  ...params: unknown[]
): Pick<StoredEvent, 'id' | 'seq' | 'type' | 'data'>[] {
  const db = new Database(join(daemon.stateDir, 'harnessd.db'), { readonly: true });
  try {
    const rows = db.prepare(sql).all(...params) as {
      id: number;
      seq: number;
      type: StoredEvent['type'];
      data: string;
    }[];
    return rows.map(({ id, seq, type, data }) => ({ id, seq, type, data: JSON.parse(data) as StoredEvent['data'] }));
  } finally {
    db.close();
  }
}

const kept = ({ id, seq, type, data }: StoredEvent) => ({ id, seq, type, data });

test('[P1.1] no event is told before another connection can read it from the database', async () => {
  await using peer = await openPeer(daemon);
  const db = new Database(join(daemon.stateDir, 'harnessd.db'), { readonly: true });
  const find = db.prepare<[number], { type: string }>('SELECT type FROM events WHERE id = ?');
  const checked: [string, string | undefined][] = [];
  let seen = 0;
  peer.socket.on('message', () => {
    for (const { id, type } of peer.events.slice(seen)) checked.push([type, find.get(id)?.type]);
    seen = peer.events.length;
  });
  await peer.call('event.subscribe');
  const { turnId } = await chatter(peer, 40);
  await peer.find(() => hasEnded(peer.events, turnId));
  db.close();
  expect(checked.length).toBeGreaterThanOrEqual(45);
  expect(checked.filter(([told, found]) => told !== found)).toEqual([]);
});

test('[P1.2] a peer that is cut off at 20 random places and comes back has everything once, in order, as if it had stayed', async () => {
  await using steady = await openPeer(daemon);
  await steady.call('event.subscribe');
  const { taskId, turnId } = await chatter(steady, 200);
  const joined: StoredEvent[] = [];
  for (let cut = 0; cut < 20; cut += 1) {
    await using fickle = await openPeer(daemon);
    await fickle.call('task.subscribe', { taskId, after: joined.at(-1)?.seq ?? 0 });
    const enough = 1 + Math.floor(Math.random() * 12);
    await fickle.find(() => fickle.events.length >= enough || hasEnded(fickle.events, turnId));
    joined.push(...fickle.events.slice(0, enough)); // what came after the cut is lost on the way
  }
  await steady.find(() => hasEnded(steady.events, turnId));
  await using last = await openPeer(daemon);
  await last.call('task.subscribe', { taskId, after: joined.at(-1)!.seq });
  await last.find(() => hasEnded([...joined, ...last.events], turnId));
  joined.push(...last.events);

  expect(joined.map(({ seq }) => seq)).toEqual(joined.map((_, n) => n + 1));
  expect(joined).toEqual(steady.events.filter((event) => event.taskId === taskId));
  expect(joined.map(kept)).toEqual(stored('SELECT * FROM events WHERE task_id = ? ORDER BY seq', taskId));
  expect(steady.events.map(({ id }) => id)).toEqual(steady.events.map((_, n) => n + 1));
});

test('[P1.2] [P5.1] a subscriber that is killed in mid-stream harms nobody, and its last id is where the next goes on', async () => {
  await using steady = await openPeer(daemon);
  const { latestId: before } = await steady.call('daemon.info');
  await steady.call('event.subscribe', { after: before });
  const { url, token } = await daemon.address();
  const { turnId } = await chatter(steady, 200);
  const child = spawn(process.execPath, [join(programs, 'subscriber.mjs'), url, token, String(before)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let told = '';
  for await (const text of child.stdout.setEncoding('utf8') as AsyncIterable<string>) {
    told += text;
    if (told.split('\n').length > 10) child.kill('SIGKILL');
  }
  const ids = told.slice(0, told.lastIndexOf('\n')).split('\n').map(Number);
  expect(ids).toEqual(ids.map((_, n) => Number(before) + n + 1));

  await using next = await openPeer(daemon);
  await next.call('event.subscribe', { after: ids.at(-1) });
  await Promise.all([steady, next].map((peer) => peer.find(() => hasEnded(peer.events, turnId))));
  expect([...ids, ...next.events.map(({ id }) => id)]).toEqual(steady.events.map(({ id }) => id));
});

test('[P5.1] ten peers that stop reading during a flood delay no other, cost bounded memory, and have everything in the end', async () => {
  await using brisk = await openPeer(daemon);
  const { latestId: after } = await brisk.call('daemon.info');
  const slow = await Promise.all(Array.from({ length: 10 }, () => openPeer(daemon)));
  for (const peer of slow) {
    await peer.call('event.subscribe', { after });
    peer.socket.pause();
  }
  await brisk.call('event.subscribe', { after });
  const idle = await residentBytes(daemon.pid);

  const lines = Array.from({ length: 24 }, () => `flood ${MiB}`);
  const prompt = [...lines, 'result'].join('\n');
  const { turnId } = (await brisk.call('task.create', { prompt })) as unknown as Ref;
  await brisk.find(() => hasEnded(brisk.events, turnId));
  const flooded = await residentBytes(daemon.pid);

  for (const peer of slow) {
    peer.socket.resume();
    await peer.find(() => hasEnded(peer.events, turnId));
    expect(peer.events.map(({ id }) => id)).toEqual(brisk.events.map(({ id }) => id));
    await peer[Symbol.asyncDispose]();
  }
  expect(flooded - idle).toBeLessThan(150 * MiB); // 240 MiB and more if what they do not read were kept for them
});

test('[P5.1] a peer that asks and never reads is not listened to any more, until it reads', async () => {
  await using brisk = await openPeer(daemon);
  await using deaf = await openPeer(daemon);
  const idle = await residentBytes(daemon.pid);
  deaf.socket.pause();
  const asked = 100_000;
  for (let n = 1; n <= asked; n += 1) deaf.send(`{"jsonrpc":"2.0","id":${n},"method":"none"}`);
  const until = Date.now() + 1_000; // long enough to take them all in, if it did
  while (Date.now() < until) await brisk.call('daemon.info');
  expect((await residentBytes(daemon.pid)) - idle).toBeLessThan(60 * MiB);
  deaf.socket.resume();
  await deaf.find(() => (deaf.frames.length === asked ? true : undefined));
});

test('[P1.3] a delete that is killed in the middle is finished by the next start', async () => {
  for (const [id, crashAt] of [
    ['marked', 'commit.done:1'],
    ['files-gone', 'commit.begun:2'],
  ]) {
    const { taskId, turnId } = await daemon.run({ id: TaskId.parse(id), prompt: 'say plans\nerror noise\nresult' });
    await daemon.kill('SIGTERM');
    await daemon.start({ flags: { 'faults-crash-at': crashAt! } });
    await using peer = await openPeer(daemon);
    peer.send({ jsonrpc: '2.0', id: 1, method: 'task.delete', params: { taskId } });
    await daemon.exited();
    const isErased = () =>
      !stored('SELECT * FROM events WHERE task_id = ?', taskId).some(({ type }) => type === 'message.added');
    expect(isErased()).toBe(false);

    await daemon.start({ flags: { 'faults-crash-at': 'never' } });

    await expect.poll(isErased).toBe(true); // beside whatever else the daemon does
    for (const path of [`terminals/${turnId}`, `tasks/${taskId}`, `workspaces/${taskId}`])
      expect(existsSync(join(daemon.stateDir, path))).toBe(false);
    await using after = await openPeer(daemon);
    expect(await after.refusal('task.get', { taskId })).toMatchObject({ code: 'task_not_found' });
  }
  const ids = stored().map(({ id }) => id);
  expect(ids).toEqual(ids.map((_, n) => n + 1));
});

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)![1]) * 1024;
}
