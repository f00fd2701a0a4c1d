import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Mask } from '../../src/base/mask.ts';
import type { Executor, Exit, ParsedEnding, Parser } from '../../src/kit/executor.ts';
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

interface Folded {
  readonly id: string;
  readonly parser: Parser<unknown>;
  readonly usageCounts?: Executor['usageCounts'];
}

/** A transcript folded in one pass. */
export function foldTranscript({ id, parser, usageCounts }: Folded, name: string, exit: Exit): Story {
  const parse = new Parse(parser, { mask: new Mask([]), usageCounts });
  const lines = readTranscript(id, name).trimEnd().split('\n');
  const events = lines.flatMap((text) => parse.line({ text, end: 0 }));
  return { events, end: parse.end(exit) };
}
