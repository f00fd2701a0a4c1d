import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { readNotHere, refusedSkips, summaryLine } from './support/summary-reporter.ts';

const root = path.resolve(import.meta.dirname, '..');
const skips = [
  { name: 'test/a.test.ts > cgroups > are killed', reason: 'needs a writable cgroup' },
  { name: 'test/b.test.ts > sees', reason: 'needs a display' },
];

test('the last line counts, and leaves out skips when there are none', () => {
  expect(summaryLine({ passed: 3, failed: 1, skipped: 0 })).toBe('3 passed, 1 failed');
  expect(summaryLine({ passed: 3, failed: 0, skipped: 2 })).toBe('3 passed, 0 failed, 2 skipped');
});

test('a skip with a reason is allowed, and in CI when its name, its title or its file is listed', () => {
  expect(refusedSkips(skips, undefined)).toEqual([]);
  expect(refusedSkips(skips, ['cgroups > are killed', 'test/b.test.ts'])).toEqual([]);
  expect(refusedSkips(skips, ['test/a.test.ts > cgroups > are killed'])).toEqual([
    'test/b.test.ts > sees is skipped (needs a display) and not listed in docs/not-here.md',
  ]);
});

test('a skip without a reason is refused everywhere', () => {
  expect(refusedSkips([{ name: 'test/a.test.ts > x', reason: undefined }], undefined)).toHaveLength(1);
});

test('the list is the first column of the page', async () => {
  await using folder = await createFolder();
  const page = path.join(folder.path, 'page.md');
  await writeFile(page, 'Name it `so`.\n\n| test | why |\n|---|---|\n| `test/a.test.ts` | no `display` |\n');
  expect(readNotHere(page)).toEqual(['test/a.test.ts']);
});

test('a run ends with the counts, and a skip that is not listed fails it in CI', async () => {
  await using folder = await createFolder();
  await symlink(path.join(root, 'node_modules'), path.join(folder.path, 'node_modules'));
  await writeFile(
    path.join(folder.path, 'some.test.ts'),
    `import { test } from 'vitest';
     test('works', () => {});
     test('lacks', ({ skip }) => skip('needs the moon'));`,
  );
  const reporter = path.join(root, 'test/support/summary-reporter.ts');
  await writeFile(
    path.join(folder.path, 'vitest.config.ts'),
    `import { SummaryReporter } from ${JSON.stringify(reporter)};
     export default { test: { reporters: [new SummaryReporter()] } };`,
  );

  const atHome = await runVitest(folder.path, { CI: '' });
  const inCi = await runVitest(folder.path, { CI: 'true' });

  expect({ code: atHome.code, last: atHome.lines.at(-1) }).toEqual({ code: 0, last: '1 passed, 0 failed, 1 skipped' });
  expect(atHome.lines).toContain('skipped: some.test.ts > lacks: needs the moon');
  expect({ code: inCi.code, last: inCi.lines.at(-1) }).toEqual({ code: 1, last: '1 passed, 1 failed' });
});

function runVitest(cwd: string, env: Record<string, string>): Promise<{ code: number | string; lines: string[] }> {
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs');
  const options = { cwd, env: { PATH: process.env['PATH'], ...env } };
  return new Promise((resolve) => {
    execFile(process.execPath, [vitest, 'run'], options, (error, stdout) =>
      resolve({ code: error?.code ?? 0, lines: stdout.trim().split('\n') }),
    );
  });
}

async function createFolder(): Promise<{ path: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'harnessd-test-'));
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}
