import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { identityOf, isAlive } from './lock.mjs';

/** What the user can do something about: shown as one line, without a stack. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

export function isInstalled(folder) {
  const lockfile = readIfThere(path.join(folder, 'package-lock.json'));
  return lockfile !== undefined && readIfThere(stampFile(folder)) === stampOf(lockfile);
}

/**
 * Makes `folder`/node_modules what its lockfile says: built in a folder of its own inside `scratch`, checked, and only
 * then renamed in, so that nobody ever sees half of it. `npm` is the command that runs npm, `title` what users call it.
 */
export async function install({ name, title, folder, scratch, npm, env, check }) {
  removeLeftovers(scratch);
  const aside = path.join(scratch, `${name}.${identityOf(process.pid)}`);
  fs.mkdirSync(aside, { recursive: true });
  try {
    for (const file of ['package.json', 'package-lock.json', '.npmrc']) {
      if (fs.existsSync(path.join(folder, file))) fs.copyFileSync(path.join(folder, file), path.join(aside, file));
    }
    await runNpm({ title, cwd: aside, npm, env, log: path.join(scratch, `${name}.log`) });
    if (check) check(aside);
    const lockfile = fs.readFileSync(path.join(aside, 'package-lock.json'));
    fs.mkdirSync(path.join(aside, 'node_modules'), { recursive: true });
    fs.writeFileSync(stampFile(aside), stampOf(lockfile));
    swapIn(aside, folder);
  } finally {
    fs.rmSync(aside, { recursive: true, force: true });
  }
}

const stampFile = (folder) => path.join(folder, 'node_modules', '.stamp');

const stampOf = (lockfile) =>
  `${createHash('sha256').update(lockfile).digest('hex')}-${process.platform}-${process.arch}`;

function readIfThere(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function swapIn(aside, folder) {
  const target = path.join(folder, 'node_modules');
  if (fs.existsSync(target)) fs.renameSync(target, path.join(aside, 'replaced'));
  fs.renameSync(path.join(aside, 'node_modules'), target);
}

/** Folders whose builder was killed; a builder that lives keeps its own. */
function removeLeftovers(scratch) {
  for (const entry of fs.existsSync(scratch) ? fs.readdirSync(scratch) : []) {
    const [, builder] = /\.(\d+-\w+)$/.exec(entry) || [];
    if (builder && !isAlive(builder)) fs.rmSync(path.join(scratch, entry), { recursive: true, force: true });
  }
}

const npmFlags = [
  '--ignore-scripts',
  '--include=dev',
  '--include=optional',
  '--no-audit',
  '--no-fund',
  '--no-progress',
  '--loglevel=verbose',
  '--fetch-retries=2',
  '--fetch-retry-mintimeout=1000',
  '--fetch-retry-maxtimeout=5000',
];

const networkFault =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT)\b/;

async function runNpm({ title, cwd, npm, env, log }) {
  const [command, ...args] = npm;
  const output = fs.openSync(log, 'w');
  let ending;
  try {
    ending = await ended(spawn(command, [...args, 'ci', ...npmFlags], { cwd, env, stdio: ['ignore', output, output] }));
  } finally {
    fs.closeSync(output);
  }
  if (ending.error) throw new SetupError(`npm could not be started: ${ending.error.message}`);
  if (ending.signal) {
    throw new SetupError(`stopped by ${ending.signal}; nothing was changed`, 128 + os.constants.signals[ending.signal]);
  }
  const missing = ending.code === 0 ? missingPackages(cwd) : [];
  const what = missing.length > 0 ? `${title} (${missing.join(', ')})` : title;
  if (ending.code !== 0 || missing.length > 0) throw new SetupError(explain(what, ending.code, log));
}

/** Waits for npm; a signal to this process ends npm first, so that the caller still cleans up. */
function ended(child) {
  return new Promise((resolve) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    let received;
    const stop = (signal) => {
      received = signal;
      child.kill('SIGKILL');
    };
    const end = (ending) => {
      for (const signal of signals) process.removeListener(signal, stop);
      resolve(ending);
    };
    for (const signal of signals) process.on(signal, stop);
    child.on('error', (error) => end({ error }));
    child.on('exit', (code, signal) => end({ code, signal: received || signal }));
  });
}

/** npm leaves out an optional package that it could not fetch, and exits 0: those meant for this machine must be there. */
function missingPackages(folder) {
  const { packages = {} } = JSON.parse(fs.readFileSync(path.join(folder, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([location, entry]) => isForThisMachine(entry) && !fs.existsSync(path.join(folder, location)))
    .map(([location]) => location.replace(/^.*node_modules\//, ''));
}

function isForThisMachine({ os: systems = [], cpu: processors = [], libc }) {
  if (!systems.includes(process.platform) || !processors.includes(process.arch)) return false;
  return libc === undefined || libc.includes(process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl');
}

function explain(what, exitCode, log) {
  const text = readIfThere(log) || '';
  const details = `npm's log: ${path.relative(process.cwd(), log) || log}`;
  const [fault] = networkFault.exec(text) || [];
  if (fault) {
    const advice = "Check the network, or npm's registry and proxy settings, and run the same command again.";
    return `${what} could not be fetched: no connection to the npm registry (${fault}). ${advice} (${details})`;
  }
  const [, reason = `exit code ${exitCode}`] = /^npm (?:error|ERR!) (?!code)(\S.*)$/m.exec(text) || [];
  return `${what} could not be installed by npm: ${reason} (${details})`;
}
