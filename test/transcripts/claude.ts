import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { claude } from '../../executors/claude.ts';
import { Mask } from '../../src/base/mask.ts';
import type { Exit, ParsedEnding } from '../../src/kit/executor.ts';
import type { ExecutorEvent } from '../../src/protocol/events.ts';
import { Parse } from '../../src/task/parse.ts';

const code = (code: number): Exit => ({ code, signal: null });

/** How the process ended that printed each transcript `claude-<name>.jsonl`. */
export const exits: Readonly<Record<string, Exit>> = {
  success: code(0),
  resume: code(0),
  'tool-error': code(0),
  mcp: code(0),
  'error-401': code(1),
  'error-429': code(1),
  'error-500': code(1),
  'error-model': code(1),
  'stream-cut': code(0),
  'cancel-sigint': code(0),
  'cancel-sigterm': code(143),
  // Recorded with the offline model and retries as harnessd sets them.
  'cancel-sigkill': { code: null, signal: 'SIGKILL' },
  'cancel-sigint-hanging': code(0),
  'cancel-sigint-stalled': code(0),
  'cancel-sigint-retrying': code(0),
  'cut-to-the-end': code(1),
  'cut-in-its-middle': code(1),
  'early-end': code(1),
  dropped: code(1),
  refused: code(1),
  retried: code(0),
  'error-413': code(1),
  thinking: code(0),
  subagent: code(0),
  compaction: code(0),
  'two-results': code(0),
  'two-results-no-new-usage': code(0),
  'tool-timeout': code(0),
  'unknown-tool': code(0),
};

export function transcript(name: string): string {
  return readFileSync(join(import.meta.dirname, `claude-${name}.jsonl`), 'utf8');
}

export interface Story {
  readonly events: readonly ExecutorEvent[];
  readonly end: ParsedEnding;
}

/** A transcript folded in one pass. */
export function story(name: string): Story {
  const parse = new Parse(claude.parser, new Mask([]));
  const lines = transcript(name).trimEnd().split('\n');
  const events = lines.flatMap((text) => parse.line({ text, end: 0 }));
  return { events, end: parse.end(exits[name]!) };
}
