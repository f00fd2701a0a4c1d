import type { Executor } from '../src/kit/executor.ts';
import { claude } from './claude.ts';

/** Every executor, the default first. */
export const executors: readonly Executor[] = [claude];
