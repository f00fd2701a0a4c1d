import { parser } from '../../executors/codex-events.ts';
import type { Exit } from '../../src/kit/executor.ts';
import { foldTranscript, readTranscript, type Story } from './fold.ts';

const code = (code: number): Exit => ({ code, signal: null });

/** How the process ended that printed each transcript `codex-<name>.jsonl`. */
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
  'cancel-sigint': code(1),
  'cancel-sigterm': { code: null, signal: 'SIGTERM' },
  'network-refused': { code: null, signal: 'SIGKILL' },
  // Recorded with the offline model, or another that answers as OpenAI does, and retries as harnessd sets them.
  thinking: code(0),
  resumed: code(0),
  'file-change': code(0),
  agent: code(0),
  refused: code(1),
  dropped: code(1),
  'cut-to-the-end': code(1),
  'early-end': code(1),
  'error-400': code(1),
  'error-402': code(1),
  quota: code(1),
  'usage-limit': code(1),
  overloaded: code(1),
  'context-length': code(1),
  'rate-limit-in-stream': code(1),
};

export const transcript = (name: string): string => readTranscript('codex', name);
export const story = (name: string): Story => foldTranscript({ id: 'codex', parser, usageCounts: 'session' }, name, exits[name]!);
