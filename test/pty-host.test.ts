import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { identityOf } from '../src/process/identity.ts';
import { connectHost } from '../src/pty-host/client.ts';
import { encodeFrame, readFrames } from '../src/pty-host/frames.ts';
import { HostError } from '../src/pty-host/host-error.ts';
import { readTerminalRecord, terminalDirectory } from '../src/pty-host/terminal-record.ts';
import { programs, Rig, until } from './fixtures/programs/pty-host-rig.ts';

const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof HostError ? error.code : error),
  );

describe('starting', () => {
  test('[P2.2] a spawn is idempotent by id: asked twice, at once and after the end, the program runs once', async () => {
    await using rig = await Rig.start();
    const traces = join(rig.stateDir, 'traces');
    const request = rig.request('once', ['sh', '-c', `echo run >>${traces}; read line`]);
    const [first, second] = await Promise.all([rig.client.spawn(request), rig.client.spawn(request)]);
    expect(second).toEqual(first);
    expect(await codeOf(rig.client.spawn({ ...request, argv: ['true'] }))).toBe('conflict');
    await until(() =>
      stat(traces).then(
        () => true,
        () => false,
      ),
    );
    const exit = rig.exitOf('once');
    await rig.client.end({ id: 'once', graceMs: 1000 });
    const ended = { ...first, exit: await exit };

    expect(await rig.client.spawn(request)).toEqual(ended);
    await rig.client.forget('once');
    expect(await rig.client.list()).toEqual([]);
    expect(await rig.client.spawn(request)).toEqual(ended);
    expect(await codeOf(rig.client.spawn({ ...request, argv: ['true'] }))).toBe('conflict');
    expect(await readFile(traces, 'utf8')).toBe('run\n');
  });

  test('arguments, environment and directory arrive as given; the child sees descriptors 0, 1 and 2', async () => {
    await using rig = await Rig.start();
    const words = ['two\nlines', '"\'`$(x)\\', '👩‍🚀 ä', '', '-n', '--', '*'];
    const capture = join(rig.stateDir, 'capture');
    const stdin = join(rig.stateDir, 'prompt');
    await writeFile(stdin, 'the prompt');
    // Terminals opened and closed before leave gaps between the host's descriptors, in which others' must not show.
    await Promise.all(
      Array.from({ length: 12 }, (_, index) => rig.client.spawn(rig.request(`w${index}`, ['sleep', '100']))),
    );
    await Promise.all(
      [1, 3, 4, 5, 8].map(async (index) => {
        const exit = rig.exitOf(`w${index}`);
        await rig.client.end({ id: `w${index}`, graceMs: 1000 });
        await exit;
      }),
    );
    const request = rig.request('show', [process.execPath, join(programs, 'show.mjs'), ...words], {
      redirect: { stdin, capture },
    });
    await rig.run('show', request.argv, request);

    const seen: unknown = JSON.parse(await readFile(capture, 'utf8'));
    const { name, value } = request.marker;
    const env = { ...request.env, PWD: rig.stateDir, [name]: value };
    expect(seen).toEqual({ argv: words, env, cwd: rig.stateDir, open: ['0', '1', '2'], isTTY: true });
    expect((await stat(capture)).mode & 0o777).toBe(0o600);
  });

  test('the program reads the prompt file, writes the capture and has the terminal for the rest', async () => {
    await using rig = await Rig.start();
    const redirect = { stdin: join(rig.stateDir, 'prompt'), capture: join(rig.stateDir, 'capture') };
    await writeFile(redirect.stdin, '👩‍🚀'.repeat(20_000));
    const exit = await rig.run('turn', ['sh', '-c', 'cat; tty </dev/tty >&2; exit 3'], { redirect });
    expect(exit).toMatchObject({ code: 3, signal: null, swept: 0, diskFull: false });
    expect(await readFile(redirect.capture, 'utf8')).toBe('👩‍🚀'.repeat(20_000));
    expect(await rig.output('turn')).toMatch(/^\/dev\/(pts\/\d+|tty)\r\n$/);
  });

  test('a start that cannot work is refused, says why, and leaves nothing that blocks the next', async () => {
    await using rig = await Rig.start();
    const file = join(rig.stateDir, 'file');
    await writeFile(file, '');
    await chmod(file, 0o600);
    const argv = ['true'];
    const attempts = {
      cwd_missing: { cwd: join(rig.stateDir, 'absent') },
      program_missing: { argv: ['no-such-program'] },
      stdin_missing: { redirect: { stdin: join(rig.stateDir, 'absent'), capture: file } },
      capture_failed: { redirect: { stdin: file, capture: rig.stateDir } },
      bad_request: { argv: ['true', 'a\0b'] },
    };
    for (const [code, more] of Object.entries(attempts)) {
      expect(await codeOf(rig.client.spawn(rig.request('again', argv, more)))).toBe(code);
    }
    expect(await codeOf(rig.client.spawn(rig.request('again', [file])))).toBe('program_missing');
    expect(await codeOf(rig.client.spawn(rig.request('again', argv, { cwd: file })))).toBe('cwd_missing');
    expect(await codeOf(rig.client.spawn(rig.request('again', ['true', 'x'.repeat(140_000)])))).toBe('bad_request');
    expect(await codeOf(rig.client.spawn(rig.request('../up', argv)))).toBe('bad_request');
    expect(await codeOf(rig.client.spawn(rig.request('again', argv, { cols: 0 })))).toBe('bad_request');
    expect(await readdir(join(rig.stateDir, 'terminals'))).toEqual([]);

    expect(await rig.run('again', argv)).toMatchObject({ code: 0 });
  });

  test('a start whose record cannot be written fails, and the next one works', async () => {
    await using rig = await Rig.start();
    const terminals = join(rig.stateDir, 'terminals');
    await mkdir(join(rig.stateDir, 'aside'));
    await rename(terminals, join(rig.stateDir, 'aside', 'terminals'));
    await writeFile(terminals, 'a file, where the directory should be');
    expect(await codeOf(rig.client.spawn(rig.request('t', ['true'])))).toBe('spawn_failed');
    await rm(terminals);
    await rename(join(rig.stateDir, 'aside', 'terminals'), terminals);
    expect(await rig.run('t', ['true'])).toMatchObject({ code: 0 });
  });
});

describe('ending', () => {
  test('[P2.5] an exit is on disk before it is told, and survives the host', async () => {
    await using rig = await Rig.start();
    const told = Promise.withResolvers<unknown>();
    rig.client.onExit((terminal) => told.resolve(readTerminalRecord(rig.stateDir, terminal.id)));
    const exit = await rig.run('e', ['sh', '-c', 'kill -9 $$']);
    expect(exit).toMatchObject({ code: null, signal: 'SIGKILL' });
    expect(await told.promise).toMatchObject({ exit });
    await rig.killHost();
    expect((await readTerminalRecord(rig.stateDir, 'e'))?.exit).toEqual(exit);
  });

  test('[P4.3] the exit comes after the last output: a burst of 1 MB, then an exit, twenty times', async () => {
    await using rig = await Rig.start();
    const burst =
      'i=0; while [ $i -lt 16 ]; do head -c 65535 /dev/zero | tr "\\0" x; echo; i=$((i+1)); done; printf END';
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        await rig.run(`b${index}`, ['sh', '-c', burst]);
        const output = await rig.output(`b${index}`);
        expect({ length: output.length, tail: output.slice(-5) }).toEqual({ length: 16 * 65_537 + 3, tail: '\r\nEND' });
      }),
    );
  });

  test('unknown ids and running terminals are told apart', async () => {
    await using rig = await Rig.start();
    await rig.client.spawn(rig.request('r', ['sleep', '100']));
    expect(await codeOf(rig.client.end({ id: 'x', graceMs: 0 }))).toBe('not_found');
    expect(await codeOf(rig.client.forget('x'))).toBe('not_found');
    expect(await codeOf(rig.client.forget('r'))).toBe('still_running');
  });
});

describe('connections', () => {
  test('a client that is killed in the middle takes nothing with it; the next one finds terminal and exit', async () => {
    await using rig = await Rig.start();
    const request = rig.request('k', ['sh', '-c', 'echo up; read line; exit 5']);
    const script = `
      const { connectHost } = await import(${JSON.stringify(new URL('../src/pty-host/client.ts', import.meta.url).href)});
      const client = await connectHost(${JSON.stringify(rig.socketPath)});
      await client.spawn(${JSON.stringify(request)});
      console.log('spawned');
      setInterval(() => void client.list(), 1);`;
    const peer = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(peer.stdout, 'data');
    peer.kill('SIGKILL');
    await once(peer, 'exit');
    await rig.reconnect();
    const [found] = await rig.client.list();
    expect(found).toMatchObject({ id: 'k', exit: null });
    expect(await rig.client.spawn(request)).toEqual(found);

    await rig.client[Symbol.asyncDispose]();
    process.kill(found!.pid, 'SIGTERM');
    await until(async () => Boolean((await readTerminalRecord(rig.stateDir, 'k'))?.exit));
    rig.client = await connectHost(rig.socketPath);
    await until(async () => (await rig.client.list())[0]?.exit?.signal === 'SIGTERM');
  });

  test('what is in flight when the host dies is rejected, and the record says that it had started', async () => {
    await using rig = await Rig.start();
    const { pid, startTime } = await rig.client.spawn(rig.request('h', ['sleep', '100']));
    process.kill(rig.record.pid, 'SIGSTOP');
    const waiting = codeOf(rig.client.list());
    await rig.killHost();
    expect(await waiting).toBe('disconnected');
    expect(await codeOf(rig.client.list())).toBe('disconnected');
    expect(await readTerminalRecord(rig.stateDir, 'h')).toMatchObject({ pid: { pid, startTime }, exit: null });
  });

  test('bad frames and requests get a clear error, and the host lives on', async () => {
    await using rig = await Rig.start();
    const head = (length: number, kind: number): Buffer => {
      const bytes = Buffer.alloc(5);
      bytes.writeUInt32BE(length);
      bytes.writeUInt8(kind, 4);
      return bytes;
    };
    const text = (payload: string): Buffer => Buffer.concat([head(payload.length, 0), Buffer.from(payload)]);
    const hello = encodeFrame({ id: 1, method: 'hello', params: { protocol: 1 } });
    const ask = async (...frames: Buffer[]): Promise<unknown> => {
      const socket = connect(rig.socketPath);
      for (const frame of frames) socket.write(frame);
      const answer = await lastMessage(socket, frames.length);
      socket.destroy();
      return answer;
    };

    expect(await ask(text('{'))).toMatchObject({ id: null, error: { code: 'bad_frame' } });
    expect(await ask(head(17 * 1024 * 1024, 0))).toMatchObject({ id: null, error: { code: 'bad_frame' } });
    expect(await ask(head(2, 9))).toMatchObject({ id: null, error: { code: 'bad_frame' } });
    expect(await ask(hello, text('[]'))).toMatchObject({ id: null, error: { code: 'bad_request' } });
    expect(await ask(encodeFrame({ id: 1, method: 'list' }))).toMatchObject({ id: 1, error: { code: 'bad_request' } });
    expect(await ask(hello, encodeFrame({ id: 2, method: 'toString' }))).toMatchObject({
      id: 2,
      error: { code: 'unknown_method' },
    });
    expect(await ask(encodeFrame({ id: 1, method: 'hello', params: { protocol: 99 } }))).toMatchObject({
      id: 1,
      error: { code: 'unsupported_protocol', message: 'This host speaks protocol 1, not 99' },
    });
    const slowly = Array.from(hello, (byte) => Buffer.from([byte]));
    const socket = connect(rig.socketPath);
    for (const byte of slowly) {
      socket.write(byte);
      await new Promise(setImmediate);
    }
    expect(await lastMessage(socket, 1)).toMatchObject({
      id: 1,
      result: { protocol: 1, format: 1, hostId: rig.record.id },
    });
    socket.destroy();
    expect(await rig.client.list()).toEqual([]);
  });
});

describe('the process', () => {
  test('its door is private: socket and records 0600, directories 0700', async () => {
    await using rig = await Rig.start();
    await rig.run('m', ['true']);
    const mode = async (path: string): Promise<string> =>
      ((await stat(join(rig.stateDir, path))).mode & 0o777).toString(8);
    expect(
      await Promise.all([mode('hosts'), mode('terminals'), mode('terminals/m'), mode('terminals/m/journal')]),
    ).toEqual(Array(4).fill('700'));
    const files = await readdir(terminalDirectory(rig.stateDir, 'm'), { recursive: true, withFileTypes: true });
    const paths = files.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    const modes = await Promise.all(paths.map(async (path) => (await stat(path)).mode & 0o777));
    expect(new Set(modes)).toEqual(new Set([0o600]));
    expect([await mode(`hosts/${rig.record.id}.sock`), await mode(`hosts/${rig.record.id}.json`)]).toEqual([
      '600',
      '600',
    ]);
  });

  test('signals meant for others do not reach it; SIGTERM ends it only when no terminal lives', async () => {
    await using rig = await Rig.start();
    await rig.client.spawn(rig.request('s', ['sleep', '100']));
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE', 'SIGTERM'] as const) process.kill(rig.record.pid, signal);
    expect(await rig.client.list()).toMatchObject([{ id: 's', exit: null }]);
    const exit = rig.exitOf('s');
    await rig.client.end({ id: 's', graceMs: 1000 });
    await exit;
    process.kill(rig.record.pid, 'SIGTERM');
    await rig.client.closed;
    await until(() => identityOf(rig.record.pid) === null);
    expect(await readdir(join(rig.stateDir, 'hosts'))).toEqual([]);
  });

  test('it leaves when idle and alone, not while a daemon is connected or a terminal lives', async () => {
    await using rig = await Rig.start({ idleExitMs: 100 });
    const exit = rig.exitOf('i');
    await rig.client.spawn(rig.request('i', ['sh', '-c', 'sleep 0.4']));
    await exit;
    expect(await rig.client.list()).toHaveLength(1);
    await rig.client[Symbol.asyncDispose]();
    await until(() => identityOf(rig.record.pid) === null);
    expect(await readdir(join(rig.stateDir, 'hosts'))).toEqual([]);
  });

  test('told to stop, it starts nothing new and leaves after its last terminal', async () => {
    await using rig = await Rig.start();
    await rig.client.spawn(rig.request('last', ['sleep', '100']));
    await rig.client.stop();
    expect(await codeOf(rig.client.spawn(rig.request('new', ['true'])))).toBe('leaving');
    await rig.client.end({ id: 'last', graceMs: 1000 });
    await rig.client.closed;
    expect((await readTerminalRecord(rig.stateDir, 'last'))?.exit).toMatchObject({ signal: 'SIGTERM' });
  });
});

/** The answer to the last of so many frames; the connection may close after it. */
async function lastMessage(socket: Socket, count: number): Promise<unknown> {
  const messages: unknown[] = [];
  for await (const message of readFrames(socket)) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages.at(-1);
}
