import { parser } from '../../executors/opencode-events.ts';
import type { Exit } from '../../src/kit/executor.ts';
import { foldTranscript, readTranscript, type Story } from './fold.ts';

const code = (code: number): Exit => ({ code, signal: null });
const killed = (signal: string): Exit => ({ code: null, signal });

/** How the process ended that printed each transcript `opencode-<name>.jsonl`. */
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
  'cancel-sigint': killed('SIGINT'),
  'cancel-sigterm': killed('SIGTERM'),
  'no-finish-reason': killed('SIGKILL'),
  'permission-rejected': code(0),
  // Recorded with the offline model and our plugin.
  compaction: code(0),
  tools: code(0), // one of them a sub-agent
  // The same, ended while they went on.
  'retrying-500': killed('SIGTERM'),
  'retrying-dropped': killed('SIGTERM'),
  'retrying-cut': killed('SIGTERM'),
  'early-end': killed('SIGTERM'),
};

export const transcript = (name: string): string => readTranscript('opencode', name);
export const story = (name: string): Story => foldTranscript({ id: 'opencode', parser }, name, exits[name]!);
