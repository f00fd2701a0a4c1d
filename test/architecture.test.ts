import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { findViolations, type ImportTable, type Sources } from './support/architecture.ts';

const root = path.resolve(import.meta.dirname, '..');

/** What each folder may import besides itself. A new folder adds its row in the commit that adds the folder. */
const table: ImportTable = {
  executors: ['src/kit'],
  tools: ['src/kit'],
  'src/base': [],
  'src/kit': ['src/base', 'src/protocol'],
  'src/protocol': ['src/base'],
  'src/process': ['src/base'],
  'src/credentials': ['src/base', 'src/protocol', 'src/kit'],
  'src/config': ['src/base', 'src/protocol'],
  'src/install': ['src/base'],
  'src/offline-model': ['src/base', 'src/process'],
  'src/pty-host': ['src/base', 'src/process'],
  'src/transport': ['src/base', 'src/protocol'],
  'src/client': ['src/base', 'src/protocol', 'src/process'],
  'src/store': ['src/base', 'src/protocol'],
  'src/tooling': ['src/base', 'src/protocol', 'src/kit', 'src/pty-host', 'src/process', 'src/store'], // what is called is journalled
  'src/mcp': ['src/base', 'src/protocol', 'src/kit', 'src/pty-host', 'src/process', 'src/tooling'],
  'src/task': [
    'src/base',
    'src/protocol',
    'src/kit',
    'src/pty-host',
    'src/process',
    'src/store',
    'src/credentials', // executors are handed in by daemon.ts
  ],
  'src/rpc': [
    'src/base',
    'src/protocol',
    'src/kit',
    'src/transport',
    'src/task',
    'src/tooling',
    'src/store',
    'src/pty-host',
    'src/credentials',
  ],
  'src/cli': [
    'src/base',
    'src/protocol',
    'src/client',
    'src/config',
    'src/process',
    'src/install',
    'src/kit',
    'executors',
  ],
  'src/daemon.ts': 'everything',
  'src/assemble.ts': 'everything',
  'src/read-rules.ts': ['src/base', 'src/config', 'src/credentials', 'src/install', 'src/kit', 'src/task'], // a part of daemon.ts
  'src/open-rules.ts': [
    'src/read-rules.ts',
    'executors',
    'src/base',
    'src/config',
    'src/credentials',
    'src/install',
    'src/kit',
    'src/store',
    'src/task',
  ], // another
  'src/open-tools.ts': ['src/base', 'src/config', 'src/kit', 'src/mcp', 'src/store', 'src/task', 'src/tooling'], // a part of daemon.ts
  'src/main.ts': ['src/daemon.ts', 'src/config', 'src/base', 'src/cli', 'src/store'], // the store's thread starts first
};

describe('the sources of harnessd', () => {
  test('keep to the import table, without cycles, and leave process to the entry files', () => {
    expect(findViolations(readSources('{src,executors,tools}/**/*.ts'), table)).toEqual([]);
  });

  test('tests read nothing outside the project either', () => {
    const others = [...readSources('test/**/*.ts')].filter(([file]) => !file.includes('architecture'));
    expect(others.filter(([, text]) => text.includes('../shared')).map(([file]) => file)).toEqual([]);
  });
});

describe('the check', () => {
  const rows: ImportTable = {
    'src/base': [],
    'src/kit': ['src/base'],
    'src/store': ['src/base'],
    executors: ['src/kit'],
  };
  const violationsOf = (files: Record<string, string>) => findViolations(new Map(Object.entries(files)), rows);

  test('allows what the table allows, and every folder itself', () => {
    expect(
      violationsOf({
        'src/base/scope.ts': `import fs from 'node:fs';\n// process.env is for entry files`,
        'src/kit/index.ts': `import { Scope } from '../base/scope.ts';\nexport * from './executor.ts';`,
        'src/kit/executor.ts': `import version from '../../package.json' with { type: 'json' };`,
        'executors/claude.ts': `import {\n  defineExecutor,\n} from '../src/kit/index.ts';`,
        'src/store/writer-worker.ts': `process.exit(process.env['X'] ? 0 : 1);`,
      }),
    ).toEqual([]);
  });

  test.for([
    ['import', `import { x } from '../store/journal.ts';`],
    ['import type', `import type { X } from '../store/journal.ts';`],
    ['import for its effects', `import '../store/journal.ts';`],
    ['dynamic import', `const { x } = await import('../store/journal.ts');`],
    ['type import in place', `type X = import('../store/journal.ts').X;`],
    ['re-export', `export { x } from '../store/journal.ts';`],
  ] as const)('refuses a bad %s', ([, text]) => {
    expect(violationsOf({ 'src/kit/executor.ts': text })).toEqual([
      `src/kit/executor.ts imports src/store/journal.ts: not in src/kit's row`,
    ]);
  });

  test('refuses a folder without a row', () => {
    expect(violationsOf({ 'src/magic/wand.ts': '' })).toEqual(['src/magic has no row']);
  });

  test('refuses an import of a test', () => {
    expect(violationsOf({ 'src/base/a.ts': `import { fake } from '../../test/support/fake.ts';` })).toEqual([
      'src/base/a.ts imports test/support/fake.ts: product code imports nothing of test/',
    ]);
  });

  test('refuses a cycle of files', () => {
    const files = { 'src/base/a.ts': `import './b.ts'`, 'src/base/b.ts': `import type { A } from './a.ts'` };
    expect(violationsOf(files)).toEqual(['cycle of files: src/base/a.ts → src/base/b.ts → src/base/a.ts']);
  });

  test('refuses a cycle of folders, even where no file is in one', () => {
    const mutual: ImportTable = { 'src/kit': ['src/store'], 'src/store': ['src/kit'] };
    const files = { 'src/kit/a.ts': `import '../store/b.ts'`, 'src/store/c.ts': `import '../kit/d.ts'` };
    expect(findViolations(new Map(Object.entries(files)), mutual)).toEqual([
      'cycle of folders: src/kit → src/store → src/kit',
    ]);
  });

  test.for([
    ['the environment', `const home = process.env['HOME'];`, 'src/base/a.ts has process.env: only entry files may'],
    ['exit', `process.exit(1);`, 'src/base/a.ts has process.exit: only entry files may'],
    [
      'process by import',
      `import { env } from 'node:process';`,
      `src/base/a.ts has from 'node:process': only entry files may`,
    ],
    [
      'the environment by parts',
      `const { env } = process;`,
      'src/base/a.ts has { env } = process;: only entry files may',
    ],
    ['a neighbour', `readFileSync('../shared/x');`, 'src/base/a.ts reads outside the project: ../shared'],
  ] as const)('refuses %s', ([, text, violation]) => {
    expect(violationsOf({ 'src/base/a.ts': text })).toEqual([violation]);
  });

  test('refuses a name that is not kebab-case', () => {
    expect(violationsOf({ 'src/base/byteRing.ts': '' })).toEqual(['src/base/byteRing.ts is not named in kebab-case']);
  });
});

function readSources(pattern: string): Sources {
  const files = globSync(pattern, { cwd: root, exclude: ['**/node_modules/**'] });
  return new Map(files.map((file) => [file, readFileSync(path.join(root, file), 'utf8')]));
}
