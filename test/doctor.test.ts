import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { doctor } from '../src/cli/doctor.ts';
import type { Context } from '../src/cli/context.ts';
import { productDir, startDaemon } from './support/daemon.ts';

/* The installed CLIs, driven by `harnessd doctor` itself. */

interface Computer {
  readonly dir: string;
  readonly tmp: string;
  /** What is left of what doctor started: files and processes. */
  left(): Promise<string[]>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess;
}

interface Told {
  readonly name: string;
  readonly state: string;
  readonly found: string;
  readonly todo?: string;
  readonly executor?: string;
  readonly step?: string;
  readonly seconds?: number;
  readonly evidence?: object;
}

/** A HOME and a temporary directory of its own. */
async function newComputer(): Promise<Computer> {
  const dir = await mkdtemp(join(tmpdir(), 'hd-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const tmp = join(dir, 'tmp');
  await mkdir(tmp);
  return {
    dir,
    tmp,
    left: async () => [...(await readdir(tmp)), ...(await processesOf(tmp))],
    start: (args, env = {}) =>
      spawn(process.execPath, [join(productDir, 'src', 'main.ts'), ...args], {
        env: {
          PATH: process.env['PATH'],
          HOME: dir,
          TMPDIR: tmp,
          XDG_CACHE_HOME: join(tmpdir(), 'harnessd-test-cache'),
          HARNESSD_LISTEN_PORT: '0',
          ...env,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
  };
}

async function processesOf(dir: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
    const [command, environment] = await Promise.all([read('cmdline'), read('environ')]);
    if (command.includes(dir) || environment.includes(`HOME=${dir}`)) found.push(`${pid} ${command}`);
  }
  return found;
}

async function ended(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')]);
  return { code: child.exitCode, stdout, stderr };
}

const checksOf = (stdout: string): Told[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Told);

test(
  'doctor drives the installed Claude Code and Codex, beside a daemon that runs, with none of the computer’s credentials',
  { timeout: 60_000 },
  async () => {
    await using daemon = await startDaemon();
    const computer = await newComputer();
    const args = ['--state-dir', daemon.stateDir, 'doctor', '--executor', 'claude,codex', '--json'];
    const credentials = { ANTHROPIC_API_KEY: 'sk-of-the-computer', ANTHROPIC_BASE_URL: 'http://127.0.0.1:9' };

    const { code, stdout, stderr } = await ended(computer.start(args, credentials));

    const checks = checksOf(stdout);
    expect(checks.filter(({ state }) => state === 'fail')).toEqual([]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(checks.find(({ name }) => name === 'daemon')).toMatchObject({ state: 'ok' });
    expect(checks.filter(({ executor }) => executor).map(({ name, state, found }) => [name, state, found])).toEqual([
      ['executor claude', 'ok', expect.stringMatching(/^\d+\.\d+\.\d+ /)],
      ['claude drives', 'ok', expect.stringContaining('asked /v1/messages (bearer) 2 times')],
      ['claude resumes', 'ok', 'its follow-up showed the model the turn before'],
      ['claude tools', 'ok', 'called computer_info over MCP and got its answer'],
      ['claude cancels', 'ok', expect.stringMatching(/ended within \d+ ms, and nothing was left$/)],
      ['claude api_key', 'ok', 'the organisation’s key reached /v1/messages (x-api-key)'],
      ['claude oauth', 'ok', 'a member’s access token reached /v1/messages (bearer)'],
      ['executor codex', 'ok', expect.stringMatching(/ \d+\.\d+\.\d+$/)],
      ['codex drives', 'ok', expect.stringContaining('asked /v1/responses (bearer) 2 times')],
      ['codex resumes', 'ok', 'its follow-up showed the model the turn before'],
      ['codex tools', 'ok', 'called computer_info over MCP and got its answer'],
      ['codex cancels', 'ok', expect.stringMatching(/ended within \d+ ms, and nothing was left$/)],
      ['codex api_key', 'ok', 'the organisation’s key reached /v1/responses (bearer)'],
      ['codex oauth', 'note', expect.stringContaining('not driven')],
    ]);
    expect(checks.at(-1)).toMatchObject({ name: 'not tried', state: 'note' });
    expect(await computer.left()).toEqual([]);
    const client = await daemon.client();
    expect(await client.call('task.list', {})).toEqual({ tasks: [], more: false });
  },
);

test('a CLI that is broken fails, with what it said last and what to do, and exit 1', { timeout: 60_000 }, async () => {
  const computer = await newComputer();
  const program = join(computer.dir, 'claude');
  await writeFile(program, '#!/bin/sh\necho "libfoo.so is missing" >&2\nexit 3\n');
  await chmod(program, 0o755);
  const own = { HARNESSD_EXECUTORS_BINARIES: `claude=${program}` };
  const todo = `executors.binaries names ${program}: run it by hand, or leave it out`;

  const [json, told] = await Promise.all(
    [['--json'], []].map((more) => ended(computer.start(['doctor', '--executor', 'claude', ...more], own))),
  );

  expect({ code: json!.code, stderr: json!.stderr }).toEqual({ code: 1, stderr: '' });
  expect(checksOf(json!.stdout).filter(({ executor }) => executor)).toEqual([
    {
      name: 'executor claude',
      executor: 'claude',
      step: 'version',
      state: 'fail',
      found: 'its CLI does not start: exit 3: libfoo.so is missing',
      todo,
      seconds: expect.any(Number) as number,
    },
    {
      name: 'claude drives',
      executor: 'claude',
      step: 'drives',
      state: 'fail',
      found: 'its turn ended failed/executor_exited',
      todo,
      seconds: expect.any(Number) as number,
      evidence: {
        outcome: 'failed',
        reason: 'executor_exited',
        evidence: expect.objectContaining({
          exitCode: 3,
          saidResult: false,
          terminal: 'libfoo.so is missing',
        }) as object,
      },
    },
  ]);
  expect(told!.code).toBe(1);
  expect(told!.stdout).toMatch(/exit code 3, no final result\n +last on its terminal:\n +libfoo\.so is missing\n +→ /);
  expect(told!.stdout).toMatch(
    /\nEXECUTOR +VERSION +DRIVES +RESUMES +CANCELS +TOOLS +PAID BY +TIME\nclaude +FAIL +FAIL +– +– +– +– +\d+\.\d s\n\n2 to mend\n$/,
  );
  expect(await computer.left()).toEqual([]);
});

test.for([
  ['SIGINT', 130],
  ['SIGTERM', 130],
  ['SIGKILL', null],
] as const)('%s in the middle of it leaves no process and no file', { timeout: 60_000 }, async ([signal, code]) => {
  const computer = await newComputer();
  const child = computer.start(['doctor', '--executor', 'codex', '--json']);
  const drives = Promise.withResolvers<void>();
  let out = '';
  child.stdout!.setEncoding('utf8').on('data', (part: string) => {
    out += part;
    if (out.includes('"codex drives"')) drives.resolve();
  });
  const end = ended(child);

  await Promise.race([drives.promise, end]);
  expect(await computer.left()).not.toEqual([]);
  child.kill(signal);

  expect((await end).code).toBe(code);
  await expect.poll(() => computer.left(), { timeout: 20_000 }).toEqual([]);
  expect(out).not.toContain('"fail"');
});

test('a CLI that is not installed is a note with the command that installs it; at least one must be there', async () => {
  const computer = await newComputer();
  await mkdir(join(computer.dir, 'executors', 'cli'), { recursive: true });
  const stdout = new PassThrough();
  const context: Context = {
    argv: [],
    env: { HOME: computer.dir, HARNESSD_LISTEN_PORT: '0' },
    stdin: new PassThrough(),
    stdout,
    stderr: new PassThrough(),
    productDir: computer.dir,
    startDaemon: () => Promise.reject(new Error('doctor starts none here')),
  };

  const code = await doctor(context, { json: true, executor: ['gemini', 'opencode'] });
  stdout.end();

  expect(code).toBe(1);
  expect(checksOf(await text(stdout)).slice(-3)).toEqual([
    {
      name: 'executor gemini',
      executor: 'gemini',
      state: 'note',
      found: 'not installed',
      todo: 'harnessd executors install gemini',
    },
    {
      name: 'executor opencode',
      executor: 'opencode',
      state: 'note',
      found: 'not installed',
      todo: 'harnessd executors install opencode',
    },
    {
      name: 'executors',
      state: 'fail',
      found: 'none is installed of: gemini, opencode',
      todo: 'harnessd executors install gemini',
    },
  ]);
});

test('--quick drives none', async () => {
  const computer = await newComputer();
  const { code, stdout } = await ended(
    computer.start(['doctor', '--quick', '--executor', 'codex', '--executor', 'claude']),
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /\nok {4}executor claude +\d+\.\d+\.\d+ .*\nok {4}executor codex +codex-cli \d.*\nall is well\n$/,
  );
  expect(await computer.left()).toEqual([]);
});

test('doctor-end takes no directory but doctor’s', async () => {
  const computer = await newComputer();
  const { code, stderr } = await ended(computer.start(['doctor-end', computer.tmp]));
  expect(code).toBe(2);
  expect(stderr).toContain(`${computer.tmp} is not a directory of harnessd doctor’s`);
  expect(await readdir(computer.dir)).toContain('tmp');
});
