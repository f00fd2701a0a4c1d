import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findContainment } from '../src/process/containment.ts';
import { identityOf, isAlive, signalProcess, type ProcessIdentity } from '../src/process/identity.ts';
import { living, programs, readPids, Rig } from './fixtures/programs/pty-host-rig.ts';

const hasCgroup = (await findContainment('auto')).level === 'cgroup';
const tree = join(programs, 'tree.sh');
const kinds = ['plain', 'ignores-term', 'setsid', 'double-fork', 'busy', 'stopped', 'many', 'hydra'] as const;
const levels = [{ level: 'cgroup' }, { level: 'weak' }] as const;

/** Starts a tree of that kind and waits until all of it is there. */
async function grow(rig: Rig, kind: string): Promise<{ id: string; processes: ProcessIdentity[] }> {
  const id = `tree-${kind}`;
  const pids = join(rig.stateDir, `${kind}.pids`);
  const { pid } = await rig.client.spawn(rig.request(id, ['sh', tree, kind, pids]));
  await rig.shows(id, 'ready');
  const leader = identityOf(pid);
  return { id, processes: [...(leader ? [leader] : []), ...(await identitiesIn(pids))] };
}

async function identitiesIn(pids: string): Promise<ProcessIdentity[]> {
  return (await readPids(pids)).map(identityOf).filter((identity) => identity !== null);
}

async function isPresent(path: string | null): Promise<boolean> {
  return (
    path !== null &&
    access(path).then(
      () => true,
      () => false,
    )
  );
}

describe.each(levels)('at level $level', ({ level }) => {
  test('[P4.1] [P4.2] the whole tree ends, whatever it does against it', async ({ skip }) => {
    skip(level === 'cgroup' && !hasCgroup, 'needs a writable cgroup v2 with cgroup.kill');
    await using rig = await Rig.start({ containment: level });
    expect(rig.client).toMatchObject({ hello: { containment: level } });
    for (const kind of kinds) {
      const { id, processes } = await grow(rig, kind);
      const [status] = (await rig.client.list()).filter((terminal) => terminal.id === id);
      const exit = rig.exitOf(id);
      const started = performance.now();
      await rig.client.end({ id, graceMs: 300 });
      await rig.client.end({ id, graceMs: 300 });
      const { swept } = await exit;

      expect({ kind, living: living(processes), hasGroup: await isPresent(status?.cgroup ?? null) }).toEqual({
        kind,
        living: [],
        hasGroup: false,
      });
      expect(performance.now() - started).toBeLessThan(3000);
      expect(swept).toBeGreaterThanOrEqual(processes.length - 1);
    }
  });

  test('[P4.1] [P4.2] what a program leaves behind when it exits is ended before its exit is told', async ({
    skip,
  }) => {
    skip(level === 'cgroup' && !hasCgroup, 'needs a writable cgroup v2 with cgroup.kill');
    await using rig = await Rig.start({ containment: level });
    for (const kind of ['ignores-term', 'setsid', 'double-fork', 'stopped']) {
      const pids = join(rig.stateDir, `${kind}.pids`);
      const exit = await rig.run(kind, ['sh', tree, kind, pids, 'leave']);

      expect({ kind, code: exit.code, swept: exit.swept }).toEqual({ kind, code: 0, swept: 1 });
      expect(living(await identitiesIn(pids))).toEqual([]);
    }
  });
});

test('[P4.1] the whole tree ends at level cgroup, even what cleared its environment and left its session', async ({
  skip,
}) => {
  skip(!hasCgroup, 'needs a writable cgroup v2 with cgroup.kill');
  await using rig = await Rig.start({ containment: 'cgroup' });
  const { id, processes } = await grow(rig, 'clears-env');
  const exit = rig.exitOf(id);
  await rig.client.end({ id, graceMs: 300 });
  await exit;
  expect(living(processes)).toEqual([]);
});

test('level weak cannot find what cleared its environment, left its session and lost its parent; the exit comes all the same', async () => {
  await using rig = await Rig.start({ containment: 'weak' });
  const { id, processes } = await grow(rig, 'clears-env');
  const exit = rig.exitOf(id);
  await rig.client.end({ id, graceMs: 100 });
  await exit;
  const [escaped, ...others] = living(processes);
  expect(others).toEqual([]);
  if (escaped) signalProcess(escaped, 'SIGKILL');
  expect(escaped && isAlive(escaped)).toBeDefined();
});

test('the leader gets the stop signal that was asked for, and what it started gets TERM', async () => {
  await using rig = await Rig.start();
  const script =
    'trap "echo leader INT; exit 7" INT; sh -c \'trap "" HUP; trap "echo child TERM; exit" TERM; echo ready; while :; do sleep 0.01; done\' & while :; do sleep 0.01; done';
  await rig.client.spawn(rig.request('polite', ['sh', '-c', script]));
  await rig.shows('polite', 'ready');
  const exit = rig.exitOf('polite');
  await rig.client.end({ id: 'polite', signal: 'SIGINT', graceMs: 5000 });
  expect(await exit).toMatchObject({ code: 7, signal: null });
  expect(await rig.output('polite')).toContain('leader INT');
  expect(await rig.output('polite')).toContain('child TERM');
});

test('whether anything but the leader lives can be asked, with exceptions', async () => {
  await using rig = await Rig.start();
  const containment = await findContainment('auto');
  const { id, processes } = await grow(rig, 'plain');
  const [status] = await rig.client.list();
  const marker = { name: 'HARNESSD_TEST', value: `${rig.record.id}-${id}` };
  const target = { cgroup: status!.cgroup, leader: processes[0]!, marker };
  expect(await containment.liveChildren(target)).toBe(true);
  expect(await containment.liveChildren(target, ({ command }) => command[0] === 'sleep')).toBe(false);
  expect((await containment.members(target)).at(-1)).toBe(processes[0]!.pid);
});
