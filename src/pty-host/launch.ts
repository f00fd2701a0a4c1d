import { access, constants, open, stat } from 'node:fs/promises';
import { delimiter, resolve } from 'node:path';
import { HostError } from './host-error.ts';
import type { SpawnRequest } from './protocol.ts';
import type { PtyCommand } from './pty.ts';

/**
 * The shell enters the group and redirects, then the program takes its place: one process, in its group from its first
 * instruction. Everything is passed by position, so that no text is ever read as shell.
 */
const inTerminal = 'g=$1; shift; [ -z "$g" ] || echo $$ >"$g/cgroup.procs" || exit 125; exec "$@"';
const redirected =
  'g=$1 p=$2 c=$3; shift 3; [ -z "$g" ] || echo $$ >"$g/cgroup.procs" || exit 125; exec "$@" <"$p" >>"$c"';

/** Checks all that would otherwise fail only after the fork, where no one could tell why. Makes the capture file. */
export async function checkLaunch(request: SpawnRequest): Promise<(cgroup: string | null) => PtyCommand> {
  const { argv, cwd, redirect, cols, rows, marker } = request;
  if (!(await isDirectory(cwd)))
    throw new HostError('cwd_missing', `The working directory ${cwd} is missing, or no directory`);
  const program = await findProgram(argv[0]!, request.env['PATH'], cwd);
  if (redirect) {
    await access(redirect.stdin, constants.R_OK).catch((cause: unknown) => {
      throw new HostError('stdin_missing', `The file for standard input, ${redirect.stdin}, cannot be read`, { cause });
    });
    await createCapture(redirect.capture);
  }
  const env = { TERM: 'xterm-256color', ...request.env, PWD: cwd, [marker.name]: marker.value };
  const command = [program, ...argv.slice(1)];
  return (cgroup) => {
    const args = redirect
      ? ['-c', redirected, 'sh', cgroup ?? '', redirect.stdin, redirect.capture, ...command]
      : ['-c', inTerminal, 'sh', cgroup ?? '', ...command];
    return { file: '/bin/sh', args, env, cwd, cols, rows };
  };
}

/** As a shell would find it. */
async function findProgram(name: string, path: string | undefined, cwd: string): Promise<string> {
  const folders = name.includes('/') ? [''] : (path ?? '').split(delimiter);
  for (const folder of folders) {
    const candidate = resolve(cwd, folder, name);
    if (await isProgram(candidate)) return candidate;
  }
  throw new HostError('program_missing', `The program ${name} is missing, or not executable`);
}

async function isProgram(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function createCapture(path: string): Promise<void> {
  try {
    await (await open(path, 'a', 0o600)).close();
  } catch (cause) {
    throw new HostError('capture_failed', `The capture file ${path} cannot be written`, { cause });
  }
}
