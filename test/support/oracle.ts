import { link } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parser } from '../../executors/claude-events.ts';
import { Mask } from '../../src/base/mask.ts';
import { CaptureReader } from '../../src/task/capture.ts';
import { Parse } from '../../src/task/parse.ts';
import type { TestDaemon } from './daemon.ts';

/** Keeps a turn's capture under another name, from as soon as it exists, so that it is there after the turn. */
export async function keepCapture(daemon: TestDaemon, turnId: string): Promise<string> {
  const kept = join(daemon.dir, `capture-${turnId}`);
  for (;;) {
    try {
      await link(join(daemon.stateDir, 'turns', turnId, 'capture'), kept);
      return kept;
    } catch {
      await sleep(2); // not there yet; the test's own limit ends a vain wait
    }
  }
}

/** The events that one undisturbed pass over a capture gives, as type and data. */
export async function foldOnce(path: string): Promise<{ type: string; data: unknown }[]> {
  const parse = new Parse(parser, { mask: new Mask([]) });
  await using reader = await CaptureReader.open(path, { maxLineBytes: 16 * 1024 * 1024 });
  const events: { type: string; data: unknown }[] = [];
  for (;;) {
    const { lines, atEnd } = await reader.read();
    for (const line of lines) events.push(...parse.line(line));
    if (atEnd) break;
  }
  const partial = reader.takePartial();
  if (partial) events.push(...parse.line(partial, { partial: true }));
  return events;
}

/** Where a message is cut into parts depends on the secrets that are masked, which the oracle does not know. */
export function withoutSeams(events: readonly { type: string; data: unknown }[]): { type: string; data: unknown }[] {
  const joined: { type: string; data: unknown }[] = [];
  for (const event of events) {
    const last = joined.at(-1);
    if (last?.type !== 'message.delta' || event.type !== 'message.delta') joined.push(event);
    else {
      const [before, after] = [last.data, event.data] as { text: string }[];
      joined[joined.length - 1] = { ...event, data: { ...after, text: `${before!.text}${after!.text}` } };
    }
  }
  return joined;
}
