import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { connect } from '../src/client/client.ts';
import type { StoredEvent } from '../src/protocol/events.ts';
import { executorEventData } from '../src/protocol/events.ts';
import { TaskId } from '../src/protocol/ids.ts';
import type { ParamsIn } from '../src/protocol/methods.ts';
import { steps } from '../src/task/steps.ts';
import { modelRequests, prepareDaemon, productDir, programs, startDaemon, type TestDaemon } from './support/daemon.ts';
import { foldOnce, keepCapture, withoutSeams } from './support/oracle.ts';
import { Subscriber } from './support/subscriber.ts';

const fakeClaude = join(programs, 'fake-claude.mjs');
const transcript = join(productDir, 'test', 'transcripts', 'claude-success.jsonl');

/** Creates a task as a control plane does that hears nothing: again, with the same id, until it is answered. */
async function createStubbornly(
  daemon: TestDaemon,
  params: ParamsIn<'task.create'>,
): Promise<{ taskId: TaskId; turnId: string }> {
  const id = TaskId.parse(randomUUID());
  for (;;) {
    try {
      await using client = await connect(await daemon.address());
      return await client.call('task.create', { ...params, id });
    } catch {
      if (!daemon.isUp) await daemon.start({ flags: { 'faults-crash-at': 'never' } });
    }
  }
}

/** What must hold after any crash: nothing missing, nothing twice, nothing invented. */
async function checkOracle(
  daemon: TestDaemon,
  subscriber: Subscriber,
  turnId: string,
  capture: string,
): Promise<StoredEvent> {
  await using replay = new Subscriber(daemon);
  await replay.until((events) => events.some((event) => event.turnId === turnId && event.type === 'turn.ended'));
  const stored = replay.events;
  expect(stored.map(({ id }) => id)).toEqual(stored.map((_, index) => index + 1));
  for (const taskId of new Set(stored.map((event) => event.taskId))) {
    const seqs = stored.filter((event) => event.taskId === taskId).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
  }
  await subscriber.until((events) => events.length >= stored.length);
  expect(subscriber.events).toEqual(stored);
  const ofTurn = stored.filter((event) => event.turnId === turnId);
  const parsed = ofTurn.filter(({ type }) => type in executorEventData).map(({ type, data }) => ({ type, data }));
  expect(withoutSeams(parsed)).toEqual(withoutSeams(await foldOnce(capture)));
  expect(ofTurn.filter(({ type }) => type === 'turn.started')).toHaveLength(1);
  expect(ofTurn.filter(({ type }) => type === 'turn.ended')).toHaveLength(1);
  return ofTurn.at(-1)!;
}

const crashes = [
  ...steps,
  'parse.read:3',
  'parse.committed:4',
  ...[1, 2, 3, 4, 5, 7].flatMap((n) => [`commit.begun:${n}`, `commit.done:${n}`]),
];

test.for(crashes)('[P2.1] kill -9 at the step %s loses and repeats nothing', { timeout: 30_000 }, async (step) => {
  await using daemon = await prepareDaemon({
    flags: { 'executors-binaries': `claude=${fakeClaude}`, 'faults-crash-at': step },
  });
  await daemon.start();
  await using subscriber = new Subscriber(daemon);
  const { turnId } = await createStubbornly(daemon, { prompt: `play ${transcript} 30\nsay the end` });
  const keeping = keepCapture(daemon, turnId);
  await daemon.crashed;
  if (!daemon.isUp) await daemon.start({ flags: { 'faults-crash-at': 'never' } });
  const capture = await Promise.race([keeping, sleep(5_000).then(() => '')]);
  const ended = await checkOracle(daemon, subscriber, turnId, capture);
  expect(ended.data).toMatchObject({ outcome: 'succeeded', evidence: { exitCode: 0 } });
  await expect.poll(() => readdir(join(daemon.stateDir, 'turns'))).toEqual([]); // cleared just after the ending is told
});

test('[P2.1] what was launched before a crash is followed, whatever it would be launched as after it', async () => {
  await using daemon = await prepareDaemon({
    flags: { 'executors-binaries': `claude=${fakeClaude}`, 'faults-crash-at': 'launch.spawned' },
  });
  await daemon.start();
  await using subscriber = new Subscriber(daemon);
  const { turnId } = await createStubbornly(daemon, { prompt: `play ${transcript} 200\nsay the end` });
  const capture = await keepCapture(daemon, turnId);
  await daemon.crashed;
  await daemon.kill();
  await daemon.start({
    flags: { 'faults-crash-at': 'never', 'offline-model': 'off', 'executors-binaries': 'claude=/nowhere' },
  });
  const ended = await checkOracle(daemon, subscriber, turnId, capture);
  expect(ended.data).toMatchObject({ outcome: 'succeeded', evidence: { exitCode: 0 } });
});

test('[P2.1] kill -9 at 20 random instants while the real Claude Code works', { timeout: 120_000 }, async () => {
  const calls = 14;
  await using daemon = await startDaemon();
  const workspace = join(daemon.dir, 'workspace');
  await mkdir(workspace);
  const script = Array.from(
    { length: calls },
    (_, n) => `{{say: step ${n}}}{{run: echo ${n} >> done.txt; sleep 1; echo ${n}}}`,
  ).join('\n');
  await using subscriber = new Subscriber(daemon);
  const { turnId } = await createStubbornly(daemon, { prompt: `${script}\n{{say: finished}}`, workspace });
  const capture = await keepCapture(daemon, turnId);
  const waits: number[] = [];
  for (let kills = 0; kills < 20; kills += 1) {
    waits.push(Math.floor(Math.random() * 400));
    await sleep(waits.at(-1)); // a random instant is what is tried
    await daemon.kill();
    await daemon.start();
  }
  const killedInTime = !subscriber.events.some(({ type }) => type === 'turn.ended');
  const ended = await checkOracle(daemon, subscriber, turnId, capture);
  expect(ended.data, `waits ${waits.join()}`).toMatchObject({
    outcome: 'succeeded',
    reason: 'completed',
    evidence: { exitCode: 0 },
  });
  expect(killedInTime, 'the turn outlasted the kills').toBe(true);
  const expected = Array.from({ length: calls }, (_, n) => `${n}\n`).join('');
  await expect(readFile(join(workspace, 'done.txt'), 'utf8')).resolves.toBe(expected);
  const requests = (await modelRequests(daemon)).filter(({ path, digest }) => path?.includes('/v1/messages') && digest);
  expect(requests).toHaveLength(calls + 1);
  expect(new Set(requests.map(({ digest }) => digest)).size).toBe(calls + 1);
});

async function hostPids(daemon: TestDaemon): Promise<number[]> {
  const names = (await readdir(join(daemon.stateDir, 'hosts'))).filter((name) => name.endsWith('.json'));
  return Promise.all(
    names.map(
      async (name) => (JSON.parse(await readFile(join(daemon.stateDir, 'hosts', name), 'utf8')) as { pid: number }).pid,
    ),
  );
}

test.for(['cgroup', 'weak'])(
  '[P2.3] a pty host that dies ends its turns host_lost and leaves nothing (%s)',
  { timeout: 30_000 },
  async (containment) => {
    await using daemon = await startDaemon({ flags: { containment } });
    await using subscriber = new Subscriber(daemon);
    const { turnId } = await createStubbornly(daemon, {
      prompt: '{{say: begun}}{{run: setsid sleep 600 & sleep 600}}',
    });
    const capture = await keepCapture(daemon, turnId);
    await subscriber.until((events) => events.some(({ type }) => type === 'tool.called'));
    for (const pid of await hostPids(daemon)) process.kill(pid, 'SIGKILL');
    const ended = await checkOracle(daemon, subscriber, turnId, capture);
    expect(ended.data).toMatchObject({ outcome: 'interrupted', reason: 'host_lost', evidence: { exit: 'unknown' } });
    expect((await daemon.processes()).filter((line) => line.includes('sleep') || line.includes('claude-code'))).toEqual(
      [],
    );
    const { ended: next } = await daemon.run({ prompt: '{{say: on}}' });
    expect(next.data).toMatchObject({ outcome: 'succeeded' });
  },
);

test(
  '[P2.3] a pty host that dies while the daemon is down is found lost at the next start',
  { timeout: 30_000 },
  async () => {
    await using daemon = await startDaemon({ flags: { 'executors-binaries': `claude=${fakeClaude}` } });
    await using subscriber = new Subscriber(daemon);
    const { turnId } = await createStubbornly(daemon, { prompt: 'say begun\nescape\nsleep 600000' });
    const capture = await keepCapture(daemon, turnId);
    await subscriber.until((events) => events.some(({ type }) => type === 'message.added'));
    await daemon.kill();
    for (const pid of await hostPids(daemon)) process.kill(pid, 'SIGKILL');
    await daemon.start();
    const ended = await checkOracle(daemon, subscriber, turnId, capture);
    expect(ended.data).toMatchObject({ outcome: 'interrupted', reason: 'host_lost', evidence: { exit: 'unknown' } });
    expect((await daemon.processes()).filter((line) => line.includes('sleep'))).toEqual([]);
  },
);

test(
  '[P2.6] SIGTERM detaches: the turn runs on, and the next daemon finds it with nothing lost',
  { timeout: 30_000 },
  async () => {
    await using daemon = await startDaemon({ flags: { 'executors-binaries': `claude=${fakeClaude}` } });
    await using subscriber = new Subscriber(daemon);
    const { turnId } = await createStubbornly(daemon, { prompt: `play ${transcript} 200\nsay the end` });
    const capture = await keepCapture(daemon, turnId);
    await subscriber.until((events) => events.some(({ type }) => type === 'tool.called'));
    await daemon.kill('SIGTERM');
    expect(subscriber.events.some(({ type }) => type === 'turn.ended')).toBe(false);
    await daemon.start();
    const ended = await checkOracle(daemon, subscriber, turnId, capture);
    expect(ended.data).toMatchObject({ outcome: 'succeeded', reason: 'completed' });
  },
);
