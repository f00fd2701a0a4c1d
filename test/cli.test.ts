import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { runtimeFault } from '../src/base/runtime.ts';
import { parseDuration } from '../src/cli/run.ts';
import { stalePages } from '../src/cli/write-docs.ts';

const root = resolve(import.meta.dirname, '..');

/** Runs the real program in a home of its own. */
async function harnessd(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const home = await mkdtemp(join(tmpdir(), 'harnessd-cli-'));
  onTestFinished(() => rm(home, { recursive: true, force: true }));
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts'), ...args], {
    env: { HOME: home, PATH: '/usr/bin:/bin', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { home, code: child.exitCode, stdout, stderr };
}

test.for([
  [['rnu'], "harnessd: unknown command 'rnu'; did you mean run?"],
  [['run', '--jsno', 'x'], "harnessd: unknown option '--jsno'; did you mean --json?"],
  [['run'], 'harnessd: a prompt is missing: give it as an argument, or on standard input with "-"'],
  [['run', 'x', '--timeout', 'soon'], 'harnessd: --timeout soon: not a duration such as 90s, 10m or 2h'],
  [['logs'], "harnessd: missing required argument 'task'"],
  [['logs', '../x'], 'harnessd: "../x" is not the id of a task'],
  [['tasks', '--limit', '0'], 'harnessd: --limit 0: must be from 1 to 500'],
  [
    ['doctor', '--executor', 'codex,clude'],
    'harnessd: --executor clude: there is no such executor; did you mean claude?',
  ],
  [['executors', 'install', 'cluade'], 'harnessd: there is no executor "cluade" to install; did you mean claude?'],
  [
    ['serve', '--listen-port', 'x'],
    'harnessd: --listen-port (listen.port) is "x": Invalid input: expected number, received string',
  ],
  [['serve', '--listen-prot', '1'], "harnessd: unknown option '--listen-prot'; did you mean --listen-port?"],
] as const)('wrong usage (%j) is one line, and exit 2', async ([args, message]) => {
  const { code, stdout, stderr } = await harnessd(args);
  expect({ code, stdout, message: stderr.split('\n', 1)[0] }).toEqual({ code: 2, stdout: '', message });
});

test('without a daemon a command says what to do, and stop has nothing to do', async () => {
  const [tasks, stop] = await Promise.all([harnessd(['tasks']), harnessd(['stop'])]);

  expect(tasks).toMatchObject({ code: 1, stdout: '' });
  expect(tasks.stderr).toContain(`no daemon is up for ${tasks.home}/.local/state/harnessd`);
  expect(tasks.stderr).toContain('start one with "harnessd serve"');
  expect(stop).toMatchObject({
    code: 0,
    stdout: `no daemon is up for ${stop.home}/.local/state/harnessd\n`,
    stderr: '',
  });
});

test('an unknown variable of ours stops serve, with a suggestion', async () => {
  const { code, stderr } = await harnessd(['serve'], { HARNESSD_LISTEN_PROT: '1' });
  expect([code, stderr.split('\n', 1)[0]]).toEqual([
    2,
    'harnessd: unknown environment variable HARNESSD_LISTEN_PROT; did you mean HARNESSD_LISTEN_PORT?',
  ]);
});

test.for(['serve', 'run', 'tasks', 'logs', 'attach', 'executors', 'stop', 'doctor', 'start'])(
  '%s --help has examples',
  async (command) => {
    const { code, stdout, stderr } = await harnessd([command, '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain(`Usage: harnessd ${command}`);
    expect(stdout).toMatch(new RegExp(`Examples:\n  \\$ .*harnessd ${command}`));
  },
);

test('--help tells the exit codes', async () => {
  expect((await harnessd(['--help'])).stdout).toMatch(/Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}130 /);
});

test('the pages that are made from the schemas are not stale: else run "harnessd docs"', async () => {
  expect(await stalePages(root)).toEqual([]);
});

test.for([
  ['90s', 90_000],
  ['10m', 600_000],
  ['1.5h', 5_400_000],
  ['250ms', 250],
  ['7', 7_000],
] as const)('--timeout %s is %i ms', ([written, ms]) => {
  expect(parseDuration(written)).toBe(ms);
});

test.for([
  ['26.10.0', '1.52.1', undefined],
  ['24.16.0', '1.52.0', undefined],
  ['24.15.9', '1.52.0', 'Node 24.15.9 is too old: 24.16 or newer is needed, but not 25'],
  ['25.9.0', '1.53.0', 'Node 25.9.0 is not supported: 24.16 or newer is needed, but not 25'],
  ['24.16.0', '1.51.0', 'this Node 24.16.0 has libuv 1.51.0, and 1.52 or newer is needed'],
] as const)('Node %s with libuv %s', ([node, uv, fault]) => {
  expect(runtimeFault({ node, uv })).toBe(fault);
});
