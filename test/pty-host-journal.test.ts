import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, readdir, rm, stat, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { resizeArg, segmentName } from '../src/pty-host/journal-format.ts';
import { readIndex, readJournal, readTail } from '../src/pty-host/journal-reader.ts';
import { JournalWriter } from '../src/pty-host/journal-writer.ts';
import { journalDirectory } from '../src/pty-host/terminal-record.ts';
import { Rig, until } from './fixtures/programs/pty-host-rig.ts';

interface Directory extends AsyncDisposable {
  readonly path: string;
}

async function makeDirectory(): Promise<Directory> {
  const path = await mkdtemp(join(tmpdir(), 'harnessd-journal-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A file system of a few megabytes of its own; null where that is not permitted. */
async function mountSmallDisk(size: string): Promise<Directory | null> {
  const { path } = await makeDirectory();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    await rm(path, { recursive: true });
    return null;
  }
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      execFileSync('umount', ['-l', path]);
      await rm(path, { recursive: true });
    },
  };
}

const all = { from: 0, maxBytes: 1e9 };

describe('a journal', () => {
  test('keeps every byte in segments, and says what came when', async () => {
    await using directory = await makeDirectory();
    const writer = new JournalWriter(directory.path, { segmentBytes: 1000 });
    writer.append('resize', Buffer.alloc(0), resizeArg(80, 24));
    const chunks = Array.from({ length: 50 }, (_, index) => Buffer.alloc(97, index));
    for (const chunk of chunks) {
      writer.append('output', chunk);
      if (chunk[0]! % 7 === 0) await until(() => writer.pending === 0);
    }
    writer.append('rendered', Buffer.alloc(2500, 'r'), 42n);
    writer.append('output', Buffer.from('end'));
    await writer.close();

    const expected = Buffer.concat([...chunks, Buffer.alloc(2500, 'r'), Buffer.from('end')]);
    expect(await readJournal(directory.path, all)).toEqual({
      offset: 0,
      bytes: expected,
      end: expected.length,
      gaps: [],
    });
    expect((await readTail(directory.path, 5)).toString()).toBe('rrend');
    const names = (await readdir(directory.path)).filter((name) => name.endsWith('.seg')).sort();
    expect(names).toEqual(Array.from({ length: 8 }, (_, index) => `${segmentName(index * 1000)}.seg`));

    const records = await readIndex(directory.path);
    expect(records[0]).toMatchObject({ offset: 0, length: 0, kind: 'resize', arg: (80n << 32n) | 24n });
    let end = 0;
    let time = 0n;
    for (const record of records) {
      expect(record.offset).toBe(end);
      expect(record.time >= time).toBe(true);
      end += record.length;
      time = record.time;
    }
    expect(end).toBe(expected.length);
    const rendered = records.filter(({ kind }) => kind === 'rendered');
    expect(rendered.map(({ arg }) => arg)).toEqual(rendered.map(() => 42n));
    expect(rendered.reduce((sum, { length }) => sum + length, 0)).toBe(2500);
  });

  test('can be read from anywhere: in the middle, beyond its end, before what is kept', async () => {
    await using directory = await makeDirectory();
    expect(await readJournal(join(directory.path, 'absent'), all)).toEqual({
      offset: 0,
      bytes: Buffer.alloc(0),
      end: 0,
      gaps: [],
    });
    const writer = new JournalWriter(directory.path, { segmentBytes: 10 });
    writer.append('output', Buffer.from('0123456789abcdefghijABCDE'));
    await writer.close();
    const read = async (from: number, maxBytes: number): Promise<unknown> => {
      const { bytes, ...range } = await readJournal(directory.path, { from, maxBytes });
      return { ...range, text: bytes.toString() };
    };
    expect(await read(8, 4)).toEqual({ offset: 8, text: '89ab', end: 25, gaps: [] });
    expect(await read(25, 4)).toEqual({ offset: 25, text: '', end: 25, gaps: [] });
    expect(await read(99, 4)).toEqual({ offset: 99, text: '', end: 25, gaps: [] });
    await unlink(join(directory.path, `${segmentName(0)}.seg`));
    expect(await read(3, 4)).toEqual({ offset: 10, text: 'abcd', end: 25, gaps: [{ offset: 3, missing: 7 }] });
    await unlink(join(directory.path, `${segmentName(10)}.seg`));
    await writeFile(join(directory.path, `${segmentName(0)}.seg`), '012345');
    expect(await read(3, 99)).toEqual({ offset: 3, text: '345', end: 25, gaps: [] });
    expect(await read(6, 99)).toEqual({ offset: 20, text: 'ABCDE', end: 25, gaps: [{ offset: 6, missing: 14 }] });
  });

  test('that a crash tore is read as far as its files go', async () => {
    await using directory = await makeDirectory();
    const writer = new JournalWriter(directory.path);
    writer.append('output', Buffer.from('written'));
    await writer.close();
    const before = await readIndex(directory.path);
    await appendFile(join(directory.path, `${segmentName(0)}.seg`), ', not indexed');
    await appendFile(join(directory.path, `${segmentName(0)}.idx`), Buffer.alloc(17, 1));
    expect((await readJournal(directory.path, all)).bytes.toString()).toBe('written, not indexed');
    expect(await readIndex(directory.path)).toEqual(before);
  });
});

describe('a terminal', () => {
  test('20 MB through it: all bytes are there, also read at random while they come', async () => {
    await using rig = await Rig.start();
    const last = 2_600_000;
    const exit = rig.exitOf('big');
    await rig.client.spawn(rig.request('big', ['seq', '1', `${last}`]));
    const directory = journalDirectory(rig.stateDir, 'big');
    const early = await readJournal(directory, { from: 0, maxBytes: 1 << 20 });
    await exit;
    const expected = Buffer.from(Array.from({ length: last }, (_, index) => `${index + 1}\r\n`).join(''));
    const { bytes, end, gaps } = await readJournal(directory, all);
    const hash = (data: Buffer): string => createHash('sha256').update(data).digest('hex');

    expect({ end, gaps, hash: hash(bytes) }).toEqual({ end: expected.length, gaps: [], hash: hash(expected) });
    expect(expected.subarray(0, early.bytes.length).equals(early.bytes)).toBe(true);
    for (let round = 0; round < 50; round++) {
      const from = Math.floor(Math.random() * end);
      const maxBytes = Math.floor(Math.random() * 5_000_000);
      const range = await readJournal(directory, { from, maxBytes });
      expect(range.offset).toBe(from);
      expect(range.bytes.equals(expected.subarray(from, from + maxBytes))).toBe(true);
    }
    const sizes = await Promise.all(
      (await readdir(directory))
        .filter((name) => name.endsWith('.seg'))
        .map(async (name) => (await stat(join(directory, name))).size),
    );
    expect(Math.max(...sizes)).toBe(2 * 1024 * 1024);
    const records = await readIndex(directory);
    expect(records.reduce((offset, record) => (record.offset === offset ? offset + record.length : NaN), 0)).toBe(end);
  });

  test('[P6.3] a secret that a program writes in two pieces is masked, length for length', async () => {
    await using rig = await Rig.start();
    const secret = 'sk-ant-0123456789';
    const script = `printf 'key %s' 'sk-ant-012'; sleep 0.005; printf '3456789 then sk-ant'; sleep 0.3; printf ' shown; ${secret}'`;
    await rig.run('m', ['sh', '-c', script], { mask: [secret] });
    const stars = '*'.repeat(secret.length);
    expect(await rig.output('m')).toBe(`key ${stars} then sk-ant shown; ${stars}`);
    const records = await readIndex(journalDirectory(rig.stateDir, 'm'));
    expect(records.at(-1)).toMatchObject({ offset: `key ${stars} then sk-ant`.length });

    await rig.run('open', ['sh', '-c', `printf ${secret}`]);
    expect(await rig.output('open')).toBe(secret);
  });

  test('on a full disk output waits, then leaves a gap of the right length; the exit is recorded all the same', async ({
    skip,
  }) => {
    await using disk = await mountSmallDisk('4m');
    skip(disk === null, 'needs permission to mount a tmpfs');
    await using outside = await makeDirectory();
    const ballast = join(disk!.path, 'ballast');
    await using rig = await Rig.start({ stateDir: disk!.path, diskFullMs: 300 });
    await writeFile(ballast, Buffer.alloc(2_000_000));
    const [full, freed, seen] = ['full', 'freed', 'seen'].map((name) => join(outside.path, name));
    const script = `head -c 6000000 /dev/zero | tr '\\0' x; touch ${full}; until [ -e ${freed} ]; do sleep 0.01; done
      until [ -e ${seen} ]; do printf tick; sleep 0.05; done; printf END; head -c 2000000 /dev/zero | tr '\\0' y`;
    const exit = rig.exitOf('full');
    await rig.client.spawn(rig.request('full', ['sh', '-c', script]));
    await until(() =>
      stat(full!).then(
        () => true,
        () => false,
      ),
    );
    const kept = await readJournal(journalDirectory(rig.stateDir, 'full'), all);
    expect(kept.end).toBeLessThan(6_000_000);
    expect(await rig.client.spawn(rig.request('none', ['true'])).catch((error: unknown) => error)).toMatchObject({
      code: 'disk_full',
    });
    expect(await readdir(join(rig.stateDir, 'terminals'))).toEqual(['full']);

    await rm(ballast);
    await writeFile(freed!, '');
    const after = async (): Promise<Awaited<ReturnType<typeof readJournal>>> =>
      readJournal(journalDirectory(rig.stateDir, 'full'), { from: kept.end, maxBytes: 1e9 });
    await until(async () => (await after()).bytes.includes('tick'));
    await writeFile(ballast, Buffer.alloc(10_000));
    await writeFile(seen!, '');
    expect(await exit).toMatchObject({ code: 0, diskFull: true });

    const { offset, bytes, gaps } = await after();
    expect(gaps).toEqual([{ offset: kept.end, missing: offset - kept.end }]);
    expect(offset).toBeGreaterThanOrEqual(6_000_000);
    const ticks = (offset - 6_000_000) / 4 + bytes.indexOf('END') / 4;
    expect(Number.isInteger(ticks)).toBe(true);
    expect(bytes.subarray(0, 4).toString()).toBe('tick');
    const index = await readIndex(journalDirectory(rig.stateDir, 'full'));
    expect(index.filter(({ kind }) => kind === 'gap')[0]).toMatchObject({
      offset: kept.end,
      length: 0,
      arg: BigInt(offset - kept.end),
    });
  });
});
