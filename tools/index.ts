import type { Tool } from '../src/kit/tool.ts';
import { computerInfo } from './computer.ts';

/** Every tool, in the order in which models see them. */
export const tools: readonly Tool[] = [computerInfo];
