import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { executors } from '../../executors/index.ts';
import { Mask } from '../../src/base/mask.ts';
import type { Executor, Parser } from '../../src/kit/executor.ts';
import { Parse } from '../../src/task/parse.ts';
import { atLeast, type Figure } from './figure.ts';
import { median } from './statistics.ts';

const targetBytes = 16 * 1024 * 1024;
const runs = 5;
const transcripts = join(import.meta.dirname, '..', 'transcripts');

export const fold: Figure = {
  name: 'fold',
  title: 'output of a CLI into events',
  method: `All transcripts of a CLI one after another, over and over to 16 MiB, line by line through its parser with two secrets to mask; the median of ${runs} runs in one process.`,
  measure: () =>
    Promise.all(
      executors.map(async (executor) => ({
        title: executor.id,
        ...atLeast(median(speeds(executor, await executor.parser())), 10, 'MB/s'),
      })),
    ),
};

function speeds({ id, usageCounts }: Executor, parser: Parser<unknown>): number[] {
  const lines = globSync(`${id}-*.jsonl`, { cwd: transcripts })
    .sort()
    .flatMap((name) => readFileSync(join(transcripts, name), 'utf8').trimEnd().split('\n'));
  const bytes = lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0);
  const mask = new Mask(['sk-ant-api03-0123456789abcdef', 'hdt_0123456789abcdef']);
  const times = Math.ceil(targetBytes / bytes);
  return Array.from({ length: runs }, () => {
    const before = performance.now();
    for (let time = 0; time < times; time += 1) {
      const parse = new Parse(parser, { mask, usageCounts });
      for (const text of lines) parse.line({ text, end: 0 });
    }
    return (bytes * times) / 1e6 / ((performance.now() - before) / 1000);
  });
}
