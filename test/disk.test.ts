import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import { prepareDaemon, programs, type TestDaemon } from './support/daemon.ts';
import { openPeer, type Peer } from './support/peer.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A daemon whose state directory is a small disk of its own. */
async function startOnSmallDisk(skip: (condition: boolean, reason: string) => void): Promise<TestDaemon> {
  const daemon = await prepareDaemon({
    flags: { 'executors-binaries': `claude=${join(programs, 'fake-claude.mjs')}`, 'hosts-disk-full-ms': 1000 },
  });
  await mkdir(daemon.stateDir);
  let refused = '';
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', daemon.stateDir], { stdio: 'pipe' });
  } catch (error) {
    refused = String(error);
    await daemon[Symbol.asyncDispose]();
  }
  skip(refused !== '', `needs the right to mount a tmpfs: ${refused}`);
  await daemon.start();
  return daemon;
}

/** The disk goes before its directory can. */
async function close(daemon: TestDaemon): Promise<void> {
  free(daemon);
  await using client = await daemon.client();
  await client.call('daemon.stop', { endTurns: true });
  await daemon.exited();
  execFileSync('umount', ['-l', daemon.stateDir]);
  await daemon[Symbol.asyncDispose]();
}

/** Takes all space that is left, to the last page. */
function fill(daemon: TestDaemon): void {
  const file = openSync(join(daemon.stateDir, 'filler'), 'a');
  for (const size of [MiB, 64 * KiB, 4 * KiB, 1]) {
    try {
      for (;;) writeSync(file, Buffer.alloc(size, 1));
    } catch {
      // ever smaller
    }
  }
  closeSync(file);
}

const free = (daemon: TestDaemon): void => rmSync(join(daemon.stateDir, 'filler'), { force: true });

const texts = (events: readonly StoredEvent[]): unknown[] =>
  events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text']);

async function follow(peer: Peer, taskId: string) {
  await peer.call('task.subscribe', { taskId });
  return {
    until: (isIt: (event: StoredEvent) => boolean) =>
      peer.find(() => peer.events.find((event) => event.taskId === taskId && isIt(event))),
  };
}

test('[P10.3] on a full disk a new task is refused and recorded nowhere; a running turn waits and loses nothing', async ({
  skip,
}) => {
  const daemon = await startOnSmallDisk(skip);
  try {
    await using peer = await openPeer(daemon);
    // 'go' is a file outside of the disk: the executor prints when it is there.
    const go = join(daemon.dir, 'go');
    const prompt = ['say before', `await ${go}`, ...Array.from({ length: 30 }, (_, n) => `say ${n}`), 'result'].join(
      '\n',
    );
    const { taskId, turnId } = (await peer.call('task.create', { prompt })) as { taskId: string; turnId: string };
    const { until } = await follow(peer, taskId);
    await until(({ type }) => type === 'message.added');
    const { latestId } = await peer.call('daemon.info');
    fill(daemon);

    const turnsBefore = readdirSync(join(daemon.stateDir, 'turns'));
    expect(await peer.refusal('task.create', { id: 'refused', prompt: 'x'.repeat(90_000) })).toMatchObject({
      code: 'storage_full',
    });
    expect(await peer.refusal('task.get', { taskId: 'refused' })).toMatchObject({ code: 'task_not_found' });
    expect(await peer.call('daemon.info')).toMatchObject({ latestId });
    expect(readdirSync(join(daemon.stateDir, 'turns'))).toEqual(turnsBefore);

    free(daemon);
    closeSync(openSync(go, 'w'));
    await until(({ turnId: of, type }) => of === turnId && type === 'turn.ended');
    expect(texts(peer.events)).toEqual(['before', ...Array.from({ length: 30 }, (_, n) => String(n))]);
    expect(peer.events.map(({ seq }) => seq)).toEqual(peer.events.map((_, n) => n + 1));
    expect(await peer.call('task.create', { id: 'refused', prompt: 'result' })).toMatchObject({ taskId: 'refused' });
  } finally {
    await close(daemon);
  }
});

test('[P10.3] an ending has room kept for it: it is recorded while the disk is still full, and no descriptor is left', async ({
  skip,
}) => {
  const daemon = await startOnSmallDisk(skip);
  try {
    await using peer = await openPeer(daemon);
    const openFiles = () => readdirSync(`/proc/${daemon.pid}/fd`).length;
    await daemon.run({ prompt: 'result' });
    const before = openFiles();
    const go = join(daemon.dir, 'go');
    const { taskId, turnId } = (await peer.call('task.create', { prompt: `say before\nawait ${go}` })) as {
      taskId: string;
      turnId: string;
    };
    const { until } = await follow(peer, taskId);
    await until(({ type }) => type === 'message.added');
    fill(daemon);
    closeSync(openSync(go, 'w'));
    const ended = await until(({ turnId: of, type }) => of === turnId && type === 'turn.ended');
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'disk_full' });
    expect(statSync(join(daemon.stateDir, 'filler')).size).toBeGreaterThan(MiB);
    free(daemon);
    await daemon.run({ prompt: 'result' });
    while (openFiles() > before) await peer.call('daemon.info'); // sockets and watches close a moment later
  } finally {
    await close(daemon);
  }
});

test('[P3.5] an executor that could not write its output failed with disk_full, recorded while the disk is full', async ({
  skip,
}) => {
  const daemon = await startOnSmallDisk(skip);
  try {
    await using peer = await openPeer(daemon);
    const go = join(daemon.dir, 'go');
    const prompt = ['say before', `await ${go}`, `flood ${4 * MiB}`, 'result'].join('\n');
    const { taskId } = (await peer.call('task.create', { prompt })) as { taskId: string };
    const { until } = await follow(peer, taskId);
    await until(({ type }) => type === 'message.added');
    fill(daemon);
    closeSync(openSync(go, 'w'));
    const ended = await until(({ type }) => type === 'turn.ended');
    expect(ended.data).toMatchObject({ outcome: 'failed', reason: 'disk_full' });
  } finally {
    await close(daemon);
  }
});
