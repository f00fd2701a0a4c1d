import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { executors } from '../executors/index.ts';
import type { Parser } from '../src/kit/executor.ts';
import { eventData } from '../src/protocol/events.ts';

/* Every line that was recorded, with every field of it made odd: what a newer program, or a model, might put there. */

type Path = readonly (string | number)[];
const gone = Symbol('gone');
const oddValues: readonly unknown[] = [
  gone, null, true, -1, 1.5, 1e300, '', 'constructor', '__proto__', 'toString', '\u0000\ud800', [], [null], [[]], {}, { type: null }, { __proto__: null, constructor: 1 },
]; // prettier-ignore

const transcripts = join(import.meta.dirname, 'transcripts');

/** One line of each shape: names, and which of them hold what. */
function shapesOf(executor: string): object[] {
  const lines = globSync(`${executor}-*.jsonl`, { cwd: transcripts })
    .toSorted()
    .flatMap((name) => readFileSync(join(transcripts, name), 'utf8').split('\n'))
    .flatMap((text) => {
      try {
        return [JSON.parse(text) as object];
      } catch {
        return []; // cut where its program was killed
      }
    });
  const byShape = new Map(
    lines.map((line) => [
      pathsIn(line)
        .map((path) => path.filter((part) => typeof part === 'string').join('.'))
        .join(),
      line,
    ]),
  );
  return [...byShape.values()];
}

function pathsIn(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null || path.length > 6) return path.length === 0 ? [] : [path];
  const inner = Object.entries(value)
    .slice(0, 40)
    .flatMap(([name, each]) => pathsIn(each, [...path, Array.isArray(value) ? Number(name) : name]));
  return path.length === 0 ? inner : [path, ...inner];
}

function changed(line: object, path: Path, odd: unknown): string {
  const copy = structuredClone(line) as Record<string | number, unknown>;
  let holder: Record<string | number, unknown> = copy;
  for (const part of path.slice(0, -1)) holder = holder[part] as typeof holder;
  const last = path.at(-1)!;
  if (odd === gone) delete holder[last];
  else holder[last] = odd;
  return JSON.stringify(copy);
}

describe('the parser of', () => {
  test.for(executors)('[P3.5] $id throws at no line, and tells nothing that is no event', async (executor) => {
    const parser: Parser<unknown> = await executor.parser();
    const odd: string[] = [];
    for (const line of shapesOf(executor.id)) {
      for (const path of pathsIn(line)) {
        for (const value of oddValues) {
          const text = changed(line, path, value);
          const { state, events } = parser.line(parser.start(), text);
          for (const { type, data } of events)
            if (!eventData[type].safeParse(data).success) odd.push(`${type} of ${text.slice(0, 300)}`);
          parser.end(state, { code: 0, signal: null });
        }
      }
    }
    expect(odd.slice(0, 5)).toEqual([]);
  });
});
