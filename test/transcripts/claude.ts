import { parser } from '../../executors/claude-events.ts';
import type { Exit } from '../../src/kit/executor.ts';
import { foldTranscript, readTranscript, type Story } from './fold.ts';

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
  files: code(0),
  steps: code(0),
  partial: code(0),
  'partial-retried': code(0),
  'partial-cut': code(0),
  'partial-cut-in-its-middle': code(1),
  // Recorded with a provider that answers so.
  'answer-refused': code(1),
  'answer-too-long': code(1),
  'prompt-too-long': code(1),
  'no-credit': code(1),
  overloaded: code(1),
};

export const transcript = (name: string): string => readTranscript('claude', name);
export const story = (name: string): Story => foldTranscript({ id: 'claude', parser }, name, exits[name]!);
