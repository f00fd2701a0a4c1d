import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findOrStartCompanion, type CompanionOptions } from '../src/process/companion.ts';
import { findContainment } from '../src/process/containment.ts';
import { identityOf, isAlive, parseStat, signalProcess, type ProcessIdentity } from '../src/process/identity.ts';
import { hasMarker } from '../src/process/process-table.ts';
import { until } from './fixtures/programs/pty-host-rig.ts';

describe('identity', () => {
  test('is read past whatever a program calls itself', () => {
    const rest = '1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0';
    for (const name of ['cat', 'a b', ') S 1 (', '))', '']) {
      expect(parseStat(`42 (${name}) S ${rest}`)).toEqual({
        pid: 42,
        ppid: 1,
        pgrp: 2,
        session: 3,
        state: 'S',
        startTime: '4711',
      });
    }
    expect(parseStat('')).toBe(null);
  });

  test('tells a process from a later one with its pid, and from its zombie', async () => {
    const parent = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 100'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const zombie = identityOf(Number(line));
    await until(() => zombie === null || !isAlive(zombie));
    const identity = identityOf(parent.pid!)!;
    expect(isAlive(identity)).toBe(true);
    expect(isAlive({ ...identity, startTime: '1' })).toBe(false);
    expect(signalProcess({ ...identity, startTime: '1' }, 'SIGKILL')).toBe(false);
    expect(signalProcess(identity, 'SIGKILL')).toBe(true);
    await once(parent, 'exit');
    expect(isAlive(identity)).toBe(false);
    expect([0, -1, 1.5, Number.NaN].map(identityOf)).toEqual([null, null, null, null]);
  });

  test('a marker is found by its whole name and value', async () => {
    const child = spawn('sleep', ['100'], { env: { A: '1', MARK: 'turn-1', Z: 'ä' } });
    await once(child, 'spawn');
    const pid = child.pid!;
    await until(() => hasMarker(pid, { name: 'MARK', value: 'turn-1' }));
    const others = [
      { name: 'MARK', value: 'turn-' },
      { name: 'ARK', value: 'turn-1' },
      { name: 'MARK', value: 'turn-11' },
    ];
    expect(await Promise.all(others.map((marker) => hasMarker(pid, marker)))).toEqual([false, false, false]);
    expect(await hasMarker(pid, { name: 'Z', value: 'ä' })).toBe(true);
    child.kill();
    await once(child, 'exit');
  });
});

describe('containment', () => {
  test('is the best that there is, or what is asked for', async () => {
    expect((await findContainment('weak')).level).toBe('weak');
    expect(await (await findContainment('weak')).prepare('x')).toEqual({ cgroup: null });
    expect(['cgroup', 'weak']).toContain((await findContainment('auto')).level);
  });

  test('makes a group of its own for each terminal, and removes it', async ({ skip }) => {
    const containment = await findContainment('auto');
    skip(containment.level !== 'cgroup', 'needs a writable cgroup v2 with cgroup.kill');
    const [first, second] = [await containment.prepare('same'), await containment.prepare('same')];
    expect(first.cgroup).toMatch(/\/harnessd-same\.[0-9a-f]{8}$/);
    expect(second.cgroup).not.toBe(first.cgroup);
    for (const { cgroup } of [first, second]) {
      const ended = await containment.end({ cgroup, leader: null, marker: { name: 'X', value: 'y' } }, { graceMs: 0 });
      expect(ended).toMatchObject({ ended: 0, leftover: 0 });
      await expect(stat(cgroup!)).rejects.toThrow('ENOENT');
    }
  });
});

describe('a companion', () => {
  const listen = `
    const { renameSync, writeFileSync, readFileSync } = require('node:fs');
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    writeFileSync('aside', JSON.stringify({ pid: process.pid, startTime, env: process.env }));
    renameSync('aside', 'record');
    setInterval(() => {}, 1000);`;

  async function withCompanion(
    script: string,
    use: (options: CompanionOptions<ProcessIdentity & { env: unknown }>) => Promise<void>,
  ): Promise<void> {
    const dir = await mkdtemp(join(tmpdir(), 'harnessd-companion-'));
    const ready = async (): Promise<(ProcessIdentity & { env: unknown }) | null> =>
      JSON.parse(await readFile(join(dir, 'record'), 'utf8').catch(() => 'null')) as
        (ProcessIdentity & { env: unknown }) | null;
    const argv = [process.execPath, '-e', `process.chdir(${JSON.stringify(dir)});${script}`] as const;
    try {
      await use({
        name: 'The companion',
        dir,
        argv: [...argv],
        env: { ONLY: 'this' },
        ready,
        timeoutMs: 5000,
        logFile: join(dir, 'log'),
        signal: new AbortController().signal,
      });
    } finally {
      const record = await ready();
      if (record) signalProcess(record, 'SIGKILL');
      await rm(dir, { recursive: true, force: true });
    }
  }

  test('is started in its own session with just its environment, and found again', async () => {
    await withCompanion(listen, async (options) => {
      const first = await findOrStartCompanion(options);
      expect(first.env).toEqual({ ONLY: 'this' });
      expect(await findOrStartCompanion(options)).toEqual(first);
      const session = parseStat(await readFile(`/proc/${first.pid}/stat`, 'utf8'))?.session;
      expect(session).toBe(first.pid);
      expect((await stat(options.logFile)).mode & 0o777).toBe(0o600);
      signalProcess(first, 'SIGKILL');
      await until(() => !isAlive(first));
      expect((await findOrStartCompanion(options)).pid).not.toBe(first.pid);
    });
  });

  test('that dies at once is reported with its last words, one that never listens is ended', async () => {
    await withCompanion('console.error("no port left"); process.exit(3)', async (options) => {
      await expect(findOrStartCompanion(options)).rejects.toThrow(
        'The companion ended at once (exit 3). Its last log lines:\nno port left',
      );
    });
    await withCompanion('setInterval(() => {}, 1000)', async (options) => {
      await expect(findOrStartCompanion({ ...options, timeoutMs: 100 })).rejects.toThrow('was not ready after 100 ms');
    });
    await withCompanion('', async (options) => {
      const argv = ['/no/such/program'] as const;
      await expect(findOrStartCompanion({ ...options, argv: [...argv] })).rejects.toThrow('ENOENT');
    });
  });
});
