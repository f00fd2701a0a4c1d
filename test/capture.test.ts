import { appendFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parser } from '../executors/claude-events.ts';
import { Mask } from '../src/base/mask.ts';
import type { ExecutorEvent } from '../src/protocol/events.ts';
import { CaptureReader, type CaptureLine } from '../src/task/capture.ts';
import { Parse } from '../src/task/parse.ts';
import { exits, story, transcript } from './transcripts/claude.ts';

const maxLineBytes = 16 * 1024 * 1024;
let dir: string;
let files = 0;
beforeAll(async () => (dir = await mkdtemp(join(tmpdir(), 'hd-capture-'))));
afterAll(() => rm(dir, { recursive: true }));
const newFile = (): string => join(dir, `${(files += 1)}`);

/** Reads on as a daemon does, from its last commit: what came before is folded again and told to nobody. */
async function readOn(
  path: string,
  committed: number,
): Promise<{ events: ExecutorEvent[]; committed: number; parse: Parse; partial: CaptureLine | undefined }> {
  const parse = new Parse(parser, { mask: new Mask([]) });
  const events: ExecutorEvent[] = [];
  await using before = await CaptureReader.open(path, { maxLineBytes });
  for (let atEnd = false; !atEnd;) {
    const read = await before.read();
    ({ atEnd } = read);
    for (const line of read.lines.filter(({ end }) => end <= committed)) parse.line(line);
  }
  await using reader = await CaptureReader.open(path, { offset: committed, maxLineBytes });
  for (let atEnd = false; !atEnd;) {
    const read = await reader.read();
    ({ atEnd } = read);
    for (const line of read.lines) {
      events.push(...parse.line(line));
      committed = line.end;
    }
  }
  return { events, committed, parse, partial: reader.takePartial() };
}

/** The file grows to each of the sizes in turn, and at each the daemon is another one. */
async function inRuns(bytes: Buffer, sizes: readonly number[]): Promise<{ events: ExecutorEvent[]; parse: Parse }> {
  const path = newFile();
  const events: ExecutorEvent[] = [];
  let committed = 0;
  let written = 0;
  await writeFile(path, '');
  for (const size of [...sizes].sort((a, b) => a - b)) {
    await appendFile(path, bytes.subarray(written, size));
    written = size;
    const run = await readOn(path, committed);
    events.push(...run.events);
    ({ committed } = run);
  }
  await appendFile(path, bytes.subarray(written));
  const last = await readOn(path, committed);
  return { events: [...events, ...last.events], parse: last.parse };
}

async function linesOf(
  path: string,
  options: { maxLineBytes: number },
): Promise<{ lines: CaptureLine[]; partial: CaptureLine | undefined }> {
  await using reader = await CaptureReader.open(path, options);
  const lines: CaptureLine[] = [];
  for (;;) {
    const read = await reader.read();
    lines.push(...read.lines);
    if (read.atEnd) return { lines, partial: reader.takePartial() };
  }
}

describe('a restarted daemon', () => {
  test.for(Object.keys(exits))(
    '[P2.4] at every line’s end and middle tells what an undisturbed one does: %s',
    async (name) => {
      const bytes = Buffer.from(transcript(name));
      const whole = story(name);
      const ends = [...bytes.keys()].filter((at) => bytes[at] === 10).map((at) => at + 1);
      const places = ends.flatMap((end, index) => [end, end - 1, Math.floor((end + (ends[index - 1] ?? 0)) / 2)]);
      for (const place of [0, ...places]) {
        const { events, parse } = await inRuns(bytes, [place]);
        expect(events, `cut at ${place}`).toEqual(whole.events);
        expect(parse.end(exits[name]!)).toEqual(whole.end);
      }
      const { events } = await inRuns(bytes, places);
      expect(events).toEqual(whole.events);
    },
  );

  test('[P2.4] however often and wherever, also inside a character', async () => {
    const say = (text: string): string =>
      JSON.stringify({ type: 'assistant', message: { content: [{ type: 'text', text }] } });
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.string({ unit: 'binary' }).map(say),
            fc.string({ unit: 'grapheme' }),
            fc.constant('𝒳🙂'.repeat(3)),
          ),
        ),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
        async (parts, cuts) => {
          const lines = parts.map((part) => part.replaceAll('\n', ' '));
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
          const parse = new Parse(parser, { mask: new Mask([]) });
          const expected = bytes
            .toString()
            .split('\n')
            .flatMap((text) => parse.line({ text, end: 0 }));
          const { events } = await inRuns(
            bytes,
            cuts.map((cut) => Math.round(cut * bytes.length)),
          );
          expect(events).toEqual(expected);
        },
      ),
      { numRuns: 150 },
    );
  });

  test('keeps what it must know: open tool calls, the session, the retry', async () => {
    const path = newFile();
    const lines = transcript('cancel-sigkill');
    await writeFile(path, lines);
    const { parse, events } = await readOn(path, Buffer.byteLength(lines));
    expect(events).toEqual([]);
    expect(parse.hasOpenCall).toBe(true);
    expect(parse.session).toBe('9860ce8e-261b-474b-83d9-5f68fdc7c3e7');
  });
});

describe('a line', () => {
  test('[P2.4] is read whole when its characters come in pieces', async () => {
    const path = newFile();
    await writeFile(path, '');
    await using reader = await CaptureReader.open(path, { maxLineBytes });
    const lines: CaptureLine[] = [];
    const text = 'a𝒳🙂é';
    for (const byte of Buffer.from(`${text}\n`)) {
      await appendFile(path, Buffer.of(byte));
      lines.push(...(await reader.read()).lines, ...(await reader.read()).lines);
    }
    expect(lines).toEqual([{ text, end: 12 }]);
    expect(reader.takePartial()).toBeUndefined();
  });

  test('keeps its carriage return, and is parsed all the same', async () => {
    const path = newFile();
    await writeFile(path, 'a\r\n\r\n\n');
    expect((await linesOf(path, { maxLineBytes })).lines.map(({ text }) => text)).toEqual(['a\r', '\r', '']);
    const { events } = await inRuns(Buffer.from(transcript('success').replaceAll('\n', '\r\n')), []);
    expect(events).toEqual(story('success').events);
  });

  test('[P3.5] of 5 MiB is read whole', async () => {
    const path = newFile();
    const text = '🙂'.repeat((5 * 1024 * 1024) / 4);
    await writeFile(path, `first\n${text}\nlast\n`);
    const { lines } = await linesOf(path, { maxLineBytes });
    expect(lines.map(({ text: { length }, cutFrom }) => [length, cutFrom])).toEqual([
      [5, undefined],
      [text.length, undefined],
      [4, undefined],
    ]);
    expect(lines[1]!.text === text).toBe(true);
  });

  test('[P3.5] that is too long costs bounded memory; its beginning and its length are kept, and what follows is read', async () => {
    const path = newFile();
    const file = await open(path, 'a');
    const mebibyte = Buffer.alloc(1024 * 1024, 'x');
    for (let count = 0; count < 128; count += 1) await file.write(mebibyte);
    await file.write('\nnext\n');
    await file.close();
    await using reader = await CaptureReader.open(path, { maxLineBytes: 1024 * 1024 });
    const lines: CaptureLine[] = [];
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    for (let atEnd = false; !atEnd;) {
      const read = await reader.read();
      ({ atEnd } = read);
      lines.push(...read.lines);
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(lines).toEqual([
      { text: 'x'.repeat(64 * 1024), end: 128 * 1024 * 1024 + 1, cutFrom: 128 * 1024 * 1024 },
      { text: 'next', end: 128 * 1024 * 1024 + 6 },
    ]);
    expect(most).toBeLessThan(8 * 1024 * 1024);
    const parse = new Parse(parser, { mask: new Mask([]) });
    expect(parse.line(lines[0]!)).toEqual([
      { type: 'executor.unparsed', data: { text: lines[0]!.text, bytes: 128 * 1024 * 1024 } },
    ]);
  });

  test('[P3.5] of exactly the greatest length is parsed, one byte more is not', async () => {
    const path = newFile();
    await writeFile(path, `${'x'.repeat(100)}\n${'y'.repeat(101)}\n`);
    expect((await linesOf(path, { maxLineBytes: 100 })).lines.map(({ cutFrom }) => cutFrom)).toEqual([undefined, 101]);
  });

  test('[P3.5] that ends in its middle is told as such, once', async () => {
    const path = newFile();
    await writeFile(path, 'whole\nhal');
    const { lines, partial } = await linesOf(path, { maxLineBytes });
    expect([...lines, partial]).toEqual([
      { text: 'whole', end: 6 },
      { text: 'hal', end: 9 },
    ]);
    const parse = new Parse(parser, { mask: new Mask([]) });
    expect(parse.line(partial!, { partial: true })).toEqual([
      { type: 'executor.unparsed', data: { text: 'hal', partial: true } },
    ]);
    expect((await readOn(path, 9)).partial).toBeUndefined();
  });

  test('[P6.2] that ends in the middle of a secret shows no part of it', () => {
    const parse = new Parse(parser, { mask: new Mask(['sk-secret-0123456789']) });
    const told = (text: string) => parse.line({ text, end: 0 }, { partial: true })[0]!.data;
    expect(told('é sk-secret-0123456789 and sk-secret-01234')).toMatchObject({
      text: `é ${'*'.repeat(20)} and ${'*'.repeat(15)}`,
    });
    expect(told('it asks')).toMatchObject({ text: 'it asks' });
    expect(parse.line({ text: 'x sk-secret-0123', end: 0, cutFrom: 99 })[0]!.data).toEqual({
      text: `x ${'*'.repeat(14)}`,
      bytes: 99,
    });
  });
});
