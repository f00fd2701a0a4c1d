import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { prepareDaemon, productDir, programs, startDaemon, type TestDaemon } from './support/daemon.ts';
import { openPeer } from './support/peer.ts';

const flags = { 'executors-binaries': `claude=${join(programs, 'fake-claude.mjs')}` };

interface Ended {
  code: number;
  out: string;
  /** The last line that is for people: what the log says is JSON. */
  said: string;
}

function run(file: string, args: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>();
  execFile(file, args, { env, timeout: 20_000, killSignal: 'SIGKILL' }, (error, out, err) => {
    const said = err.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    resolve({ code: error ? Number(error.code) : 0, out, said: said.join('\n') });
  });
  return promise;
}

/** Runs `harnessd` until it ends. */
function harnessd(daemon: TestDaemon, args: readonly string[]): Promise<Ended> {
  const env = { PATH: process.env['PATH'], HOME: daemon.home, XDG_CACHE_HOME: '/tmp/harnessd-test-cache' };
  return run(process.execPath, [join(productDir, 'src', 'main.ts'), '--state-dir', daemon.stateDir, ...args], env);
}

const serve = (daemon: TestDaemon, ...args: string[]) => harnessd(daemon, ['serve', '--listen-port', '0', ...args]);

test('[P10.1] a daemon that cannot start says in one line what is wrong and where, and exits 1 or 2', async () => {
  await using daemon = await prepareDaemon();
  const { dir } = daemon;
  const file = join(dir, 'file');
  await writeFile(file, '{"claude": {"ANTHROPIC_API_KEY": "sk-ant-0123456789"}}', { mode: 0o644 });
  await using taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const refused: [string[], number, RegExp][] = [
    [['--turn-idle-ms', 'soon'], 2, /^harnessd: --turn-idle-ms \(turn\.idleMs\) is "soon": /],
    [['--listen-host', '0.0.0.0'], 2, /^harnessd: listen\.host: 0\.0\.0\.0 is not a loopback address/],
    [['--credentials-file', file], 2, /^harnessd: credentials\.file: .*file can be read by others: chmod 600 it$/],
    [['--credentials-file', join(dir, 'none')], 2, /^harnessd: credentials\.file: .*none cannot be read$/],
    [['--listen-port', String(port)], 1, new RegExp(`^harnessd: 127\\.0\\.0\\.1:${port} is in use by another program`)],
  ];
  for (const [args, code, message] of refused) {
    const ended = await serve(daemon, ...args);
    expect(ended).toEqual({ code, out: '', said: expect.stringMatching(message) as string });
    expect(ended.said).not.toContain('sk-ant');
    expect(ended.said.split('\n')).toHaveLength(1);
  }
  const below = await harnessd(daemon, ['--state-dir', join(file, 'state'), 'serve']);
  expect(below).toEqual({
    code: 1,
    out: '',
    said: expect.stringMatching(/^harnessd: .*file\/state cannot be made or written: ENOTDIR/) as string,
  });
  const other = join(dir, 'other');
  const database = join(other, 'harnessd.db');
  await mkdir(other);
  await writeFile(database, 'no database '.repeat(1000));
  const damaged = await harnessd(daemon, ['--state-dir', other, 'serve', '--listen-port', '0']);
  expect(damaged).toEqual({ code: 1, out: '', said: `harnessd: ${database} cannot be used: file is not a database` });
  expect(await readFile(database, 'utf8')).toBe('no database '.repeat(1000));
});

test('[P10.1] a state directory on a disk that is read-only is named so', async ({ skip }) => {
  await using daemon = await prepareDaemon();
  await mkdir(daemon.stateDir);
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', daemon.stateDir], {});
  skip(mounted.code !== 0, `needs the right to mount a tmpfs: ${mounted.said}`);
  const refused = await serve(daemon);
  await run('umount', [daemon.stateDir], {});
  const said = expect.stringMatching(/^harnessd: .*state cannot be made or written: EROFS/) as string;
  expect(refused).toEqual({ code: 1, out: '', said });
});

test('where only an old Node is, the launcher says which is needed, in one line', async ({ skip }) => {
  const { out: version } = await run('/usr/bin/node', ['--version'], {});
  skip(!/^v(18|20|22)\./.test(version), `needs an old Node at /usr/bin/node, there is ${version || 'none'}`);
  await using daemon = await prepareDaemon();
  const launcher = join(daemon.dir, 'runtime', 'harnessd');
  await mkdir(dirname(launcher));
  await copyFile(join(productDir, 'runtime', 'harnessd'), launcher);
  expect(await run(launcher, ['serve'], { PATH: '/usr/bin:/bin' })).toEqual({
    code: expect.any(Number) as number,
    out: '',
    said: 'harnessd: no Node that suits (24.16 or newer, not 25); set it up with: npm run setup',
  });
});

test('[P11.1] a second daemon on a state directory is refused by the name of the first, which goes on', async () => {
  await using daemon = await startDaemon({ flags });
  const second = await serve(daemon);
  expect(second).toEqual({
    code: 1,
    out: '',
    said: expect.stringMatching(
      new RegExp(`^harnessd: ${daemon.stateDir} is in use by another harnessd \\(process ${daemon.pid}, `),
    ) as string,
  });
  expect((await daemon.run({ prompt: 'result' })).ended.data).toMatchObject({ outcome: 'succeeded' });

  await daemon.kill('SIGKILL'); // its lock ends with it, whatever it left
  expect(await stat(join(daemon.stateDir, 'lock.json'))).toMatchObject({ size: expect.any(Number) as number });
  expect(await daemon.start()).toBeUndefined();
});

test('[P2.1] SIGTERM lets a turn run on, and the next start finds it with nothing lost, on the same port and with the same token', async () => {
  await using daemon = await startDaemon({ flags });
  const client = await daemon.client();
  const { taskId, turnId } = await client.call('task.create', {
    prompt: ['say one', 'sleep 700', 'say two', 'sleep 700', 'say three', 'result'].join('\n'),
  });
  await daemon.eventsUntil(taskId, ({ type }) => type === 'message.added');
  const before = await daemon.address();
  await using peer = await openPeer(daemon);
  await daemon.kill('SIGTERM');
  expect(await peer.closed).toMatchObject({ code: 1012 });
  await daemon.start();
  expect(await daemon.address()).toEqual(before);
  const events = await daemon.eventsUntilEnded(taskId, turnId);
  expect(events.filter(({ type }) => type === 'message.added').map(({ data }) => data['text'])).toEqual([
    'one',
    'two',
    'three',
  ]);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, n) => n + 1));
  expect(events.at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
});

test('harnessd stop ends the daemon and leaves its turns, with --end-turns it ends them first', async () => {
  await using daemon = await startDaemon({ flags });
  const client = await daemon.client();
  const { taskId, turnId } = await client.call('task.create', { prompt: 'say one\nsleep 60000' });
  await daemon.eventsUntil(taskId, ({ type }) => type === 'message.added');

  expect(await harnessd(daemon, ['stop'])).toMatchObject({ code: 0, said: '' });
  await daemon.exited();
  expect((await daemon.processes()).some((line) => line.includes('fake-claude'))).toBe(true);
  expect(await harnessd(daemon, ['stop'])).toMatchObject({ code: 0, said: '' });

  await daemon.start();
  expect(await harnessd(daemon, ['stop', '--end-turns'])).toMatchObject({ code: 0, said: '' });
  await daemon.exited();
  expect((await daemon.processes()).filter((line) => line.includes('fake-claude'))).toEqual([]);
  await daemon.start();
  const events = await daemon.eventsUntilEnded(taskId, turnId);
  expect(events.at(-1)!.data).toMatchObject({ outcome: 'cancelled', reason: 'by_stop' });
});

test('[P6.5] [P11.2] the token is made once, private, and a directory that was open is closed', async () => {
  await using daemon = await prepareDaemon({ flags });
  await mkdir(daemon.stateDir);
  await chmod(daemon.stateDir, 0o755);
  await daemon.start();
  const { token } = await daemon.address();
  expect(token).toMatch(/^hd_[\w-]{43}$/);
  expect((await stat(join(daemon.stateDir, 'token'))).mode & 0o777).toBe(0o600);
  expect((await stat(daemon.stateDir)).mode & 0o777).toBe(0o700);
});
