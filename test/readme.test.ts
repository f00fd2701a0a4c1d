import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { productDir, programs, startDaemon } from './support/daemon.ts';

const run = promisify(execFile);
const example = join(productDir, 'docs', 'examples', 'client.mjs');
const read = (...path: readonly string[]): Promise<string> => readFile(join(productDir, ...path), 'utf8');

describe('the README', () => {
  test('shows the client of docs/examples as it is', async () => {
    expect(await read('README.md')).toContain(`\`\`\`js\n${await readFile(example, 'utf8')}\`\`\``);
  });

  test('its client runs a task over a plain WebSocket and prints what happens', async () => {
    await using daemon = await startDaemon({
      flags: { 'executors-binaries': `claude=${join(programs, 'fake-claude.mjs')}` },
    });
    const { stdout, stderr } = await run(process.execPath, [example, 'say hello\nresult'], {
      env: { HARNESSD_STATE_DIR: daemon.stateDir },
    });

    const lines = stdout.trimEnd().split('\n');
    expect(stderr).toBe('');
    expect(lines.map((line) => line.split(' ', 2).join(' '))).toEqual([
      '1 task.created',
      '2 turn.queued',
      '3 turn.started',
      '4 turn.running',
      '5 message.added',
      '6 turn.ended',
    ]);
    expect(lines.at(-2)).toContain('"text":"hello"');
    expect(lines.at(-1)).toContain('"outcome":"succeeded"');
  });
});

describe('the written pages', () => {
  test.for([
    'README.md',
    'docs/architecture.md',
    'docs/promises.md',
    'docs/offline-model.md',
    'docs/executors.md',
    'docs/tools.md',
  ])('%s links only to what is there', async (page) => {
    const links = [...(await read(page)).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)].map(([, to]) => to!);
    expect(links.filter((to) => !existsSync(join(productDir, dirname(page), to)))).toEqual([]);
  });
});
