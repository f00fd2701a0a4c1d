import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { identityOf, isAlive, type ProcessIdentity } from '../src/process/identity.ts';
import { HostError } from '../src/pty-host/host-error.ts';
import { hostSocketPath } from '../src/pty-host/host-files.ts';
import { openHosts, type Hosts } from '../src/pty-host/hosts.ts';
import type { HostRecord, SpawnRequest, TerminalStatus } from '../src/pty-host/protocol.ts';
import { readTerminalRecord, sweepLost } from '../src/pty-host/terminal-record.ts';
import { living, makeStateDir, programs, readPids, Rig, until } from './fixtures/programs/pty-host-rig.ts';

/** The daemon's view: its hosts, what they told, and a directory that is emptied afterwards. */
class Daemon implements AsyncDisposable {
  readonly stateDir: string;
  readonly hosts: Hosts;
  readonly exits: TerminalStatus[] = [];
  readonly lost: string[] = [];
  readonly #pids = new Set<ProcessIdentity>();

  private constructor(stateDir: string, hosts: Hosts) {
    this.stateDir = stateDir;
    this.hosts = hosts;
    hosts.onExit((terminal) => this.exits.push(terminal));
    hosts.onLost((hostId) => this.lost.push(hostId));
  }

  static async open(stateDir?: string): Promise<Daemon> {
    const dir = stateDir ?? (await makeStateDir());
    const logFile = join(dir, 'host.log');
    const signal = new AbortController().signal;
    return new Daemon(dir, await openHosts({ stateDir: dir, containment: 'auto', logFile, idleExitMs: 100, signal }));
  }

  async host(): Promise<Awaited<ReturnType<Hosts['newest']>>> {
    const host = await this.hosts.newest();
    this.#pids.add(host.identity);
    return host;
  }

  request(id: string, argv: readonly string[]): SpawnRequest {
    const env = { PATH: process.env['PATH'] ?? '' };
    const marker = { name: 'HARNESSD_TEST', value: `${this.stateDir}-${id}` };
    return { id, argv, env, cwd: this.stateDir, cols: 80, rows: 24, marker, mask: [], graceMs: 200 };
  }

  async exitOf(id: string): Promise<TerminalStatus> {
    await until(() => this.exits.some((terminal) => terminal.id === id));
    return this.exits.find((terminal) => terminal.id === id)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const terminal of this.hosts.terminals().filter(({ exit }) => !exit)) {
      await this.hosts.byId(terminal.hostId)?.end({ id: terminal.id, graceMs: 0 });
    }
    await this.hosts[Symbol.asyncDispose]();
    await until(() => [...this.#pids].every((identity) => !isAlive(identity))); // idle, they leave
    await rm(this.stateDir, { recursive: true, force: true });
  }
}

test('one host is started, however many ask; a later daemon finds it and its terminals', async () => {
  await using daemon = await Daemon.open();
  const [first, second] = await Promise.all([daemon.host(), daemon.host()]);
  expect(second).toBe(first);
  expect(daemon.hosts.byId(first.hostId)).toBe(first);
  expect(daemon.hosts.byId('none')).toBe(null);
  const status = await first.spawn(daemon.request('t', ['sh', '-c', 'read line']));
  await first.spawn(daemon.request('done', ['true']));
  const done = await daemon.exitOf('done');

  await daemon.hosts[Symbol.asyncDispose]();
  await using later = await Daemon.open(daemon.stateDir);
  const host = await later.host();
  expect(host.hostId).toBe(first.hostId);
  expect(later.hosts.terminals()).toEqual([status, done]);
  await host.end({ id: 't', graceMs: 1000 });
  expect((await later.exitOf('t')).exit).toMatchObject({ signal: 'SIGTERM' });
  expect(later.exits.map(({ id }) => id)).toEqual(['t']);
  await host.forget('t');
  expect(later.hosts.terminals()).toEqual([done]);
});

test('two hosts side by side: both are served, new terminals go to the newer, the older leaves when it is empty', async () => {
  await using older = await Rig.start({ idleExitMs: 60_000 });
  await older.client.spawn(older.request('old', ['sleep', '100']));
  await until(() => Date.now() > older.record.startedAt);
  await using newer = await Rig.start({ idleExitMs: 60_000, stateDir: older.stateDir });
  const hosts = await openHosts({
    stateDir: older.stateDir,
    containment: 'auto',
    logFile: join(older.stateDir, 'log'),
    signal: new AbortController().signal,
  });
  const exits: string[] = [];
  const lost: string[] = [];
  hosts.onExit(({ id, hostId }) => exits.push(`${id} ${hostId}`));
  hosts.onLost((id) => lost.push(id));
  const newest = await hosts.newest();
  expect(newest.hostId).toBe(newer.record.id);
  await newest.spawn(newer.request('new', ['sleep', '100']));
  expect(hosts.terminals().map(({ id, hostId }) => [id, hostId])).toEqual(
    expect.arrayContaining([
      ['old', older.record.id],
      ['new', newer.record.id],
    ]),
  );
  const other = newer.client.spawn(newer.request('old', ['sleep', '100']));
  await expect(other).rejects.toMatchObject({ code: 'other_host', data: { spawn: { hostId: older.record.id } } });

  await hosts.byId(older.record.id)!.end({ id: 'old', graceMs: 1000 });
  await until(() => hosts.byId(older.record.id) === null);
  await hosts.byId(newer.record.id)!.end({ id: 'new', graceMs: 1000 });
  await until(() => exits.length === 2);
  expect(exits).toEqual([`old ${older.record.id}`, `new ${newer.record.id}`]);
  expect(lost).toEqual([]);
  await hosts[Symbol.asyncDispose]();
});

test('[P5.1] a host that answers late tells of what ended while it was silent', async () => {
  await using rig = await Rig.start({ idleExitMs: 60_000 });
  const { stateDir } = rig;
  await rig.client.spawn(rig.request('t', ['sleep', '100']));
  const socket = hostSocketPath(stateDir, rig.record.id);
  await rename(socket, `${socket}.away`);
  const signal = new AbortController().signal;
  const hosts = await openHosts({ stateDir, containment: 'auto', logFile: join(stateDir, 'log'), signal });
  const exits: string[] = [];
  hosts.onExit(({ id }) => exits.push(id));
  expect(hosts.terminals()).toEqual([]);
  await rig.client.end({ id: 't', graceMs: 1000 });
  await until(async () => (await readTerminalRecord(stateDir, 't'))?.exit !== null);
  await rename(`${socket}.away`, socket);
  await until(() => exits.length > 0);
  expect(exits).toEqual(['t']);
  await hosts[Symbol.asyncDispose]();
});

test('a host that is killed is reported lost once it is dead; what it left is swept, and its ids start nothing again', async () => {
  await using daemon = await Daemon.open();
  const host = await daemon.host();
  const pids = join(daemon.stateDir, 'pids');
  const argv = ['sh', join(programs, 'tree.sh'), 'setsid', pids];
  await host.spawn(daemon.request('orphan', argv));
  await host.spawn(daemon.request('done', ['true']));
  await daemon.exitOf('done');
  await until(async () => (await readFile(pids, 'utf8').catch(() => '')).includes('\n'));
  const left = (await readPids(pids)).map(identityOf).filter((identity) => identity !== null);
  process.kill(host.identity.pid, 'SIGKILL');
  await until(() => daemon.lost.length > 0);
  expect(daemon.lost).toEqual([host.hostId]);
  expect(await readdir(join(daemon.stateDir, 'hosts'))).toEqual([]);
  await expect(host.list()).rejects.toMatchObject({ code: 'disconnected' });

  const record = (await readTerminalRecord(daemon.stateDir, 'orphan'))!;
  expect(record).toMatchObject({ spawn: { hostId: host.hostId }, exit: null });
  expect(living(left)).toEqual(left);
  expect(await sweepLost(record, { graceMs: 100 })).toMatchObject({ leftover: 0 });
  expect(living(left)).toEqual([]);
  expect(await sweepLost(record, { graceMs: 100 })).toMatchObject({ ended: 0, leftover: 0 });

  const next = await daemon.host();
  expect(next.hostId).not.toBe(host.hostId);
  await expect(next.spawn(daemon.request('orphan', argv))).rejects.toMatchObject({ code: 'host_lost', data: record });
  expect(await next.spawn(daemon.request('done', ['true']))).toMatchObject({ hostId: host.hostId, exit: { code: 0 } });
});

test('hosts that died while nobody looked, or with the machine, are told at the start', async () => {
  await using daemon = await Daemon.open();
  const host = await daemon.host();
  await daemon.hosts[Symbol.asyncDispose]();
  const directory = join(daemon.stateDir, 'hosts');
  const record = JSON.parse(await readFile(join(directory, `${host.hostId}.json`), 'utf8')) as HostRecord;
  const dead = { ...record, id: 'dead', startTime: '1' };
  const rebooted = { ...record, id: 'rebooted', bootId: 'of another day' };
  for (const written of [dead, rebooted])
    await writeFile(join(directory, `${written.id}.json`), JSON.stringify(written));
  await using later = await Daemon.open(daemon.stateDir);
  expect([...later.hosts.lostAtStart].sort()).toEqual(['dead', 'rebooted']);
  expect((await readdir(directory)).filter((name) => name.endsWith('.json') && !name.startsWith(host.hostId))).toEqual(
    [],
  );
});

test('a connection that drops while the host lives is made anew, and an exit in between is told once', async () => {
  await using rig = await Rig.start();
  await using proxy = await interpose(rig.socketPath);
  const hosts = await openHosts({
    stateDir: rig.stateDir,
    containment: 'auto',
    logFile: join(rig.stateDir, 'log'),
    signal: new AbortController().signal,
  });
  const told: string[] = [];
  hosts.onExit(({ id }) => told.push(id));
  hosts.onLost((id) => told.push(`lost ${id}`));
  const host = await hosts.newest();
  const flag = join(rig.stateDir, 'flag');
  await host.spawn(rig.request('before', ['true']));
  await until(() => told.length === 1);
  await host.spawn(rig.request('t', ['sh', '-c', `until [ -e ${flag} ]; do sleep 0.01; done`]));
  proxy.cut();
  await writeFile(flag, '');
  await until(async () => Boolean((await readTerminalRecord(rig.stateDir, 't'))?.exit));
  const spawned = host.spawn(rig.request('after', ['true']));
  proxy.mend();
  expect(await spawned).toMatchObject({ id: 'after' });
  await until(() => told.length === 3);
  expect(told).toEqual(['before', 't', 'after']);
  await hosts[Symbol.asyncDispose]();
});

test('a state directory too deep for a socket is refused before anything is started', async () => {
  await using daemon = await Daemon.open();
  const stateDir = join(daemon.stateDir, 'x'.repeat(100));
  const logFile = join(daemon.stateDir, 'log');
  const hosts = await openHosts({ stateDir, containment: 'auto', logFile, signal: new AbortController().signal });
  const refusal = await hosts.newest().catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(HostError);
  expect(refusal).toMatchObject({ code: 'path_too_long' });
  await expect(stat(stateDir)).rejects.toThrow('ENOENT');
  expect(() => hostSocketPath('/x', 'y'.repeat(64))).not.toThrow();
  await hosts[Symbol.asyncDispose]();
});

test('a host is small, and starts quickly what it is asked for', async () => {
  await using daemon = await Daemon.open();
  const host = await daemon.host();
  const residentMiB = async (): Promise<number> => {
    const status = await readFile(`/proc/${host.identity.pid}/status`, 'utf8').catch(() => '');
    return Math.round(Number(status.match(/VmRSS:\s*(\d+)/)?.[1]) / 1024);
  };
  const idle = await residentMiB();
  const times: number[] = [];
  for (let index = 0; index < 30; index++) {
    const started = performance.now();
    await host.spawn(daemon.request(`q${index}`, ['true']));
    times.push(performance.now() - started);
    await daemon.exitOf(`q${index}`);
  }
  const median = times.sort((a, b) => a - b)[15]!;
  const figures = { idleMiB: idle, after30MiB: await residentMiB(), spawnP50Ms: Number(median.toFixed(1)) };
  console.log('pty host', figures);
  expect(figures.idleMiB).toBeLessThan(75);
  expect(figures.spawnP50Ms).toBeLessThan(100);
});

interface Proxy extends AsyncDisposable {
  cut(): void;
  mend(): void;
}

/** Stands between a host's socket and those who connect to it by its path. */
async function interpose(path: string): Promise<Proxy> {
  const behind = `${path}.behind`;
  await rename(path, behind);
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((peer) => {
    if (isCut) return peer.destroy();
    const host = connect(behind);
    for (const socket of [peer, host]) sockets.add(socket.on('error', () => undefined));
    peer.pipe(host).pipe(peer);
    return undefined;
  });
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    cut: () => {
      isCut = true;
      cut();
    },
    mend: () => (isCut = false),
    [Symbol.asyncDispose]: async () => {
      cut();
      await new Promise((resolve) => server.close(resolve));
      await rename(behind, path).catch(() => undefined);
    },
  };
}
