import { parser } from '../../executors/gemini-events.ts';
import type { Exit } from '../../src/kit/executor.ts';
import { foldTranscript, readTranscript, type Story } from './fold.ts';

const code = (code: number): Exit => ({ code, signal: null });

/** How the process ended that printed each transcript `gemini-<name>.jsonl`. */
export const exits: Readonly<Record<string, Exit>> = {
  success: code(0),
  resume: code(0),
  'tool-error': code(0),
  mcp: code(0),
  'error-401': code(145),
  'error-429': code(173),
  'error-500': code(244),
  'error-model': code(1),
  'stream-cut': code(1),
  'no-finish-reason': code(0),
  'cancel-sigint': code(0),
  'cancel-sigterm': code(0),
  // Recorded with the offline model and settings as harnessd writes them.
  routed: code(0),
  edits: code(0),
  todos: code(0),
  'tool-fails': code(0),
  parallel: code(0),
  'error-400': code(144),
  'error-402': code(146),
  'error-403': code(147),
  'error-529': code(17),
  'error-unknown-model': code(1),
  'error-key': code(144),
  'error-401-oauth': code(145),
  'error-404-oauth': code(1),
  'error-500-midway': code(244),
  dropped: code(1),
  refused: code(1),
  retried: code(0),
  'cut-in-its-middle': code(1),
  'cut-to-the-end': code(1),
  'early-end': code(0),
  'early-end-once': code(0),
  'cancel-sigkill': { code: null, signal: 'SIGKILL' },
  'cancel-sigterm-stalled': code(0),
};

export const transcript = (name: string): string => readTranscript('gemini', name);
export const story = (name: string): Story => foldTranscript({ id: 'gemini', parser }, name, exits[name]!);
