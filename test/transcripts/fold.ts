import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Mask } from '../../src/base/mask.ts';
import type { Executor, Exit, ParsedEnding } from '../../src/kit/executor.ts';
import type { ExecutorEvent } from '../../src/protocol/events.ts';
import { Parse } from '../../src/task/parse.ts';

export interface Story {
  readonly events: readonly ExecutorEvent[];
  readonly end: ParsedEnding;
}

/** What an executor printed: `<executor>-<name>.jsonl`. */
export function readTranscript(executor: string, name: string): string {
  return readFileSync(join(import.meta.dirname, `${executor}-${name}.jsonl`), 'utf8');
}

/** What its parser is to make of it. */
export function readGolden(executor: string, name: string): Story {
  return JSON.parse(readFileSync(join(import.meta.dirname, 'golden', `${executor}-${name}.json`), 'utf8')) as Story;
}

/** A transcript folded in one pass. */
export function foldTranscript(executor: Executor, name: string, exit: Exit): Story {
  const parse = new Parse(executor, new Mask([]));
  const lines = readTranscript(executor.id, name).trimEnd().split('\n');
  const events = lines.flatMap((text) => parse.line({ text, end: 0 }));
  return { events, end: parse.end(exit) };
}
