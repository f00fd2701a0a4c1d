import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';

export type Env = Readonly<Record<string, string | undefined>>;

/** An installation that did not come about; the message is one line for a person. */
export class InstallError extends Error {
  override readonly name = 'InstallError';
}

/** What npm needs to run and to reach a registry; nothing else of our environment, and none of npm's own bookkeeping. */
const allowed = [
  /^(PATH|HOME|USER|LOGNAME|TMPDIR|LANG|LC_\w+|XDG_\w+)$/,
  /^(https?|no|all)_proxy$/i,
  /^(NODE_EXTRA_CA_CERTS|NODE_USE_SYSTEM_CA|SSL_CERT_FILE|SSL_CERT_DIR)$/,
  /^npm_config_(registry|ca|cafile|cert|key|proxy|https?[_-]proxy|no_?proxy|strict[_-]ssl|userconfig|globalconfig|cache|offline|prefer[_-]offline|fetch[_-]\w+|maxsockets)$/i,
  /^npm_config_(\/\/|@).+/i,
];

export function npmEnv(env: Env): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && allowed.some((pattern) => pattern.test(name))) kept[name] = value;
  }
  // npm is a script of `env node`; a host whose PATH lacks one has ours.
  kept['PATH'] = [kept['PATH'], dirname(process.execPath)].filter(Boolean).join(delimiter);
  return kept;
}

async function findNpm(path: string): Promise<string> {
  for (const folder of path.split(delimiter).filter(Boolean)) {
    const npm = join(folder, 'npm');
    const found = await access(npm, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return npm;
  }
  throw new InstallError('npm was not found on PATH nor beside node: install npm >= 10');
}

export interface NpmRun {
  readonly args: readonly string[];
  readonly folder: string;
  readonly env: Env;
  readonly signal: AbortSignal;
}

/** npm's exit code and the end of what it said (verbose, because of an optional package that fails it says nothing else). */
export interface NpmOutcome {
  readonly code: number | null;
  readonly said: string;
}

const keptChars = 256 * 1024;

export async function runNpm({ args, folder, env, signal }: NpmRun): Promise<NpmOutcome> {
  const childEnv = npmEnv(env);
  const npm = await findNpm(childEnv['PATH'] ?? '');
  const child = spawn(npm, [...args, '--loglevel=verbose'], {
    cwd: folder,
    env: childEnv,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-keptChars);
    });
  }
  let failure: Error | undefined;
  child.once('error', (error) => (failure = error)); // an abort, too; npm is gone only with 'close'
  return new Promise((resolve, reject) => {
    child.once('close', (code) => (failure ? reject(failure) : resolve({ code, said })));
  });
}

const networkCodes =
  /^(ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|ENET\w+|EHOST\w+|EPIPE|ENOTCACHED|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT|FETCH_ERROR)$/;

/** Why npm did not bring a package, in a few words. */
export function causeOf(said: string): string {
  const failed = said
    .match(/failed with (\w+)/g)
    ?.at(-1)
    ?.slice('failed with '.length);
  const code = /^npm (?:error|ERR!) code (\w+)/m.exec(said)?.[1] ?? failed;
  if (code && networkCodes.test(code))
    return `the npm registry cannot be reached (${code}); connect to the network and try again`;
  const status = /fetch GET ([45]\d\d) (\S+)/.exec(said);
  if (status) return `the npm registry answered ${status[1]} for ${status[2]}`;
  const line = /^npm (?:error|ERR!) (?!code)(.+)$/m.exec(said)?.[1];
  return line ?? (code ? `npm failed with ${code}` : 'npm brought no package for this platform');
}
