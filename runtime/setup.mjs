// Brings what a fresh clone lacks (a Node, the packages, a coding agent's CLI), then runs `npm start`, `npm test` and
// the like. Plain ES2020 without dependencies: it runs on whatever Node >= 18 the host has.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { environmentForNpm, environmentWithoutNpm } from './environment.mjs';
import { install, isInstalled, SetupError } from './install.mjs';
import { withLock } from './lock.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const runtime = path.join(root, 'runtime');
const scratch = path.join(root, '.setup');
const clisFolder = path.join(root, 'executors', 'cli');
const clis = fs.readdirSync(clisFolder).filter((name) => fs.existsSync(path.join(clisFolder, name, 'package.json')));
const defaultExecutor = 'claude';
/** As the launcher has them. */
const nodeFlags = [
  '--min-semi-space-size=4',
  '--max-semi-space-size=4',
  '--preserve-symlinks',
  '--preserve-symlinks-main',
];
const nodeLink = path.join(root, 'node_modules', '.bin', 'node');

const commands = {
  setup: async () => {
    await setUp([ownNode, packages, link, cli(defaultExecutor)]);
    say('set up; go on with: npm start');
    return 0;
  },
  start: async (args) => {
    await setUp([ownNode, packages, link, cli(executorIn(args))]);
    return run([...nodeFlags, path.join(root, 'src', 'main.ts'), 'start', ...args]);
  },
  test: async (args) => {
    await setUp([ownNode, packages, link, ...clis.map(cli)]);
    return (await runChecks()) || runTests(args);
  },
  check: async () => {
    await setUp([ownNode, packages, link]);
    return (await runChecks()) || runTests(['test/architecture.test.ts']);
  },
  bench: async (args) => {
    await setUp([ownNode, packages, link, ...clis.map(cli)]);
    return run(['test/bench/main.ts', ...args], { cwd: root });
  },
};

// The parts of a set-up, in their order. Those that are done cost a look at a file.

const ownNode = {
  isDone: () => hostNodeSuits() || (isInstalled(runtime) && findOwnNode(runtime) !== undefined),
  async do() {
    const { optionalDependencies } = readJson(path.join(runtime, 'package.json'));
    const reason = isHostNode() ? `the host has ${process.version}; needed is 24.16 or newer, not 25` : 'a new release';
    await timed(`fetching Node ${Object.values(optionalDependencies)[0]}, 210 MB (${reason})`, () =>
      installHere({ name: 'node', title: 'Node', folder: runtime, node: process.execPath, check: tryOwnNode }),
    );
  },
};

const packages = {
  isDone: () => isInstalled(root),
  async do() {
    const reason = fs.existsSync(path.join(root, 'node_modules')) ? 'package-lock.json has changed' : 'none here yet';
    await timed(`installing the packages (${reason})`, () =>
      installHere({ name: 'packages', title: 'the packages', folder: root, node: chosenNode() }),
    );
  },
};

/** `node` for npm's scripts, whose PATH begins with this folder, and for the launcher `runtime/harnessd`. */
const link = {
  isDone: () => readLink(nodeLink) === linkTarget(),
  async do() {
    const fresh = `${nodeLink}.${process.pid}`;
    fs.mkdirSync(path.dirname(nodeLink), { recursive: true });
    fs.symlinkSync(linkTarget(), fresh);
    fs.renameSync(fresh, nodeLink);
  },
};

/** A coding agent's CLI. */
function cli(id) {
  return {
    isDone: () => isInstalled(path.join(clisFolder, id)),
    async do() {
      const command = [path.join(root, 'src', 'main.ts'), 'executors', 'install', id];
      const code = await run(command, { env: environmentForNpm(process.env, findNpm()) });
      if (code !== 0) throw new SetupError('', code); // it has said why
    },
  };
}

/** The executor of the first task; one that there is not is left to the command to complain of. */
function executorIn(args) {
  const at = args.indexOf('--executor');
  const named = at < 0 ? args.map((arg) => /^--executor=(.+)/.exec(arg)).find(Boolean)?.[1] : args[at + 1];
  return clis.includes(named) ? named : defaultExecutor;
}

async function setUp(parts) {
  if (parts.every((part) => part.isDone())) return;
  const onWait = (pid) => say(`another set-up (process ${pid}) is at work here; waiting for it`);
  await withLock(path.join(scratch, 'lock'), { onWait }, async () => {
    for (const part of parts) if (!part.isDone()) await part.do();
  });
}

function installHere({ node, ...what }) {
  const npmCli = findNpm();
  return install({ ...what, scratch, npm: [node, npmCli], env: environmentForNpm(process.env, npmCli) });
}

// Which Node

/** libuv before 1.52 loses the end of what a child on a terminal prints. */
function hostNodeSuits() {
  const { node, uv } = process.versions;
  return isHostNode() && isAtLeast(node, 24, 16) && !node.startsWith('25.') && isAtLeast(uv, 1, 52);
}

/** Under npm this script may already run on the Node that an earlier set-up fetched. */
function isHostNode() {
  return !process.execPath.startsWith(runtime + path.sep);
}

function isAtLeast(version, major, minor) {
  const [itsMajor, itsMinor] = version.split('.').map(Number);
  return itsMajor > major || (itsMajor === major && itsMinor >= minor);
}

function chosenNode() {
  return hostNodeSuits() ? process.execPath : findOwnNode(runtime);
}

/** Relative where it can be, so that the project's folder may be moved. */
function linkTarget() {
  const node = chosenNode();
  return hostNodeSuits() ? node : path.relative(path.dirname(nodeLink), node);
}

function findOwnNode(folder) {
  const { optionalDependencies } = readJson(path.join(folder, 'package.json'));
  return Object.keys(optionalDependencies)
    .map((name) => path.join(folder, 'node_modules', name, 'bin', 'node'))
    .find((node) => fs.existsSync(node));
}

function tryOwnNode(folder) {
  const node = findOwnNode(folder);
  const advice = 'install Node 24.16 or newer (not 25) by hand, then run the same command again';
  if (!node) throw new SetupError(`npm has no Node for ${process.platform}-${process.arch}: ${advice}`);
  try {
    execFileSync(node, ['--version'], { stdio: 'pipe' });
  } catch (error) {
    throw new SetupError(`the Node from npm does not run here (${error.message.trim().split('\n').pop()}): ${advice}`);
  }
}

/** npm's own JavaScript, so that any Node can run it: the npm that runs this script, or the one on PATH. */
function findNpm() {
  const running = process.env.npm_execpath || '';
  if (path.basename(running) === 'npm-cli.js' && fs.existsSync(running)) return running;
  const folders = [path.dirname(process.execPath), ...(process.env.PATH || '').split(path.delimiter)];
  for (const folder of folders) {
    const npm = path.join(folder, 'npm');
    if (fs.existsSync(npm) && fs.realpathSync(npm).endsWith('npm-cli.js')) return fs.realpathSync(npm);
  }
  throw new SetupError('npm was not found: put npm 10 or newer on PATH');
}

// Running

async function runChecks() {
  const checks = [
    ['types', 'tsc'],
    ['lint', 'oxlint', '--type-aware', '--deny-warnings'],
    ['format', 'prettier', '--check', '--log-level=warn', '.'],
  ];
  let failure = 0;
  for (const [title, tool, ...args] of checks) {
    const started = Date.now();
    const code = await run([path.join('node_modules', '.bin', tool), ...args], { cwd: root });
    say(`${title}: ${code === 0 ? 'ok' : 'failed'} (${secondsSince(started)})`);
    if (code > 128) return code;
    failure = failure || code;
  }
  return failure;
}

function runTests(args) {
  return run([path.join('node_modules', '.bin', 'vitest'), 'run', ...args], { cwd: root });
}

/** Runs a script on the chosen Node and gives its exit code. A terminal's Ctrl-C reaches it without our help. */
function run(command, { env = environmentWithoutNpm(process.env), cwd } = {}) {
  const child = spawn(chosenNode(), command, { env, cwd, stdio: 'inherit' });
  process.on('SIGINT', ignore);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(signal ? 128 + os.constants.signals[signal] : code));
  });
}

function ignore() {}

async function timed(doing, work) {
  const started = Date.now();
  say(`${doing} ...`);
  await work();
  say(`done in ${secondsSince(started)}`);
}

const secondsSince = (started) => `${((Date.now() - started) / 1000).toFixed(1)} s`;

const say = (line) => process.stderr.write(`harnessd: ${line}\n`);

const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

function readLink(file) {
  try {
    return fs.readlinkSync(file);
  } catch {
    return undefined;
  }
}

async function main([name = 'setup', ...args]) {
  if (!Object.prototype.hasOwnProperty.call(commands, name)) throw new SetupError(`no such command: ${name}`, 2);
  return commands[name](args);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    if (!(error instanceof SetupError)) throw error;
    if (error.message) say(error.message);
    process.exit(error.exitCode);
  },
);
