import type { Executor } from '../src/kit/executor.ts';
import { claude } from './claude.ts';
import { codex } from './codex.ts';
import { gemini } from './gemini.ts';
import { opencode } from './opencode.ts';

/** Every executor, the default first. */
export const executors: readonly Executor[] = [claude, codex, gemini, opencode];
