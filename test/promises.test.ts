import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');

test('every promise in docs/promises.md has a test that names it, and every name exists', () => {
  const page = readFileSync(path.join(root, 'docs/promises.md'), 'utf8');
  const files = globSync('test/**/*.test.ts', { cwd: root }).filter((file) => file !== 'test/promises.test.ts');
  const tests = files.map((file) => readFileSync(path.join(root, file), 'utf8'));

  expect(findBrokenPromises(page, tests)).toEqual([]);
});

describe('the check', () => {
  const page = `
| id | promise |
|---|---|
| P1.1 | Written before told |
| P2.10 | A crash loses nothing |
### P3.1 No invented endings
See also P9.9.`;
  const tests = [`test('[P1.1] an event is durable', async () => {});`, `  test("[P2.10] [P3.1] survives", () => {});`];

  test('is content when each promise is proved', () => {
    expect(findBrokenPromises(page, tests)).toEqual([]);
  });

  test('sees a promise without a test', () => {
    expect(findBrokenPromises(page, tests.slice(1))).toEqual(['P1.1 is promised, but no test names it']);
  });

  test('sees a test of what nobody promised', () => {
    expect(findBrokenPromises(page, [...tests, `test.for(cases)(\n  '[P4.2] and more', () => {});`])).toEqual([
      'P4.2 is named by a test, but not promised',
    ]);
  });

  test('sees an id that is given twice', () => {
    expect(findBrokenPromises(`${page}\n| P1.1 | Again |`, tests)).toEqual(['P1.1 is on the page twice']);
  });

  test('takes neither a comment nor a todo for a proof', () => {
    const pretended = [
      ...tests.slice(1),
      `// [P1.1] some day`,
      `test.todo('[P1.1] later');`,
      `test.skip('[P1.1]', run);`,
    ];
    expect(findBrokenPromises(page, pretended)).toEqual(['P1.1 is promised, but no test names it']);
  });
});

function findBrokenPromises(page: string, tests: readonly string[]): string[] {
  const rowsAndHeadings = page.matchAll(/^(?:\|\s*|#+\s+)`?(P\d+\.\d+)`?\b/gm);
  const promised = [...rowsAndHeadings].flatMap(([, id]) => id ?? []);
  const named = new Set(tests.flatMap((text) => titlesIn(text).flatMap(idsIn)));
  return [
    ...promised.filter((id, index) => promised.indexOf(id) !== index).map((id) => `${id} is on the page twice`),
    ...promised.filter((id) => !named.has(id)).map((id) => `${id} is promised, but no test names it`),
    ...[...named].filter((id) => !promised.includes(id)).map((id) => `${id} is named by a test, but not promised`),
  ];
}

/** A title is a string that begins a call's arguments. */
function titlesIn(text: string): string[] {
  return [...text.matchAll(/(\.todo|\.skip)?\(\s*(['"`])((?:(?!\2).)*)\2/g)].flatMap(([, isIdle, , title]) =>
    isIdle ? [] : (title ?? []),
  );
}

function idsIn(title: string): string[] {
  return [...title.matchAll(/\[(P\d+\.\d+)\]/g)].flatMap(([, id]) => id ?? []);
}
