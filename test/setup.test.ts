import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');
const stamp = `${process.platform}-${process.arch}`;

test('a first start installs, a second one calls no npm, a new lockfile installs again', async () => {
  const project = await createProject();

  const first = await project.start(['--once']).ended;
  const second = await project.start(['--once']).ended;
  await project.changeLockfile();
  const third = await project.start(['--once']).ended;

  expect([first, second, third].map(({ code }) => code)).toEqual([0, 0, 0]);
  expect(first.stderr).toContain('installing the packages (none here yet)');
  expect(second.stderr).toBe('');
  expect(third.stderr).toContain('package-lock.json has changed');
  expect(await project.npmCalls()).toEqual(['main', 'main']);
  expect(await readlink(path.join(project.path, 'node_modules/.bin/node'))).toBe(process.execPath);
});

test('the command gets its arguments and no trace of npm, and gives its exit code', async () => {
  const project = await createProject();

  const { code, stdout } = await project.start(['--exit=7', 'a b']).ended;

  expect(code).toBe(7);
  const { args, env } = JSON.parse(stdout) as { args: string[]; env: Record<string, string> };
  expect(args).toEqual(['start', '--exit=7', 'a b']);
  expect(Object.keys(env).filter((name) => /^npm_|^(INIT_CWD|NODE|COLOR)$/.test(name))).toEqual([]);
  expect(env['PATH']).toBe('/usr/bin:/home/me/node_modules/.bin:/bin');
});

test('a host with an old Node gets the Node of runtime/, which the launcher uses, too', async () => {
  const project = await createProject();
  const versions = `{ ...process.versions, node: '20.20.2', uv: '1.46.0' }`;
  const pretendOld = `data:text/javascript,Object.defineProperty(process,'versions',{value:${versions}})`;

  const first = await project.start([], { nodeArgs: ['--import', pretendOld] }).ended;
  const second = await project.start([], { nodeArgs: ['--import', pretendOld] }).ended;

  expect([first.code, second.code]).toEqual([0, 0]);
  expect(await project.npmCalls()).toEqual(['runtime', 'main']);
  expect(await readlink(path.join(project.path, 'node_modules/.bin/node'))).toBe(
    '../../runtime/node_modules/some-node/bin/node',
  );
  const launched = await collect(spawn(path.join(project.path, 'runtime/harnessd'), ['doctor', '--json']));
  expect(JSON.parse(launched.stdout)).toMatchObject({ args: ['doctor', '--json'] });
});

test('of two at once one installs, and the other says that it waits', async () => {
  const project = await createProject();
  const one = project.start([], { npm: 'slow' });
  await project.untilNpmCalls(1);
  const other = project.start([], { npm: 'slow' });
  await untilPrinted(other.process, `(process ${one.process.pid}) is at work here; waiting`);

  await project.letNpmGo();

  expect([(await one.ended).code, (await other.ended).code]).toEqual([0, 0]);
  expect(await project.npmCalls()).toEqual(['main']);
});

test('what a killed set-up left is cleared away by the next', async () => {
  const project = await createProject();
  const killed = project.start([], { npm: 'slow' });
  await project.untilNpmCalls(1);
  killed.process.kill('SIGKILL');
  await killed.ended;
  expect(await project.scratch()).toContainEqual(expect.stringMatching(/^packages\.\d+-/));

  const next = await project.start([]).ended;

  expect(next.code).toBe(0);
  expect(await project.scratch()).toEqual(['packages.log']);
});

test('a set-up that is asked to end stops npm and leaves nothing behind', async () => {
  const project = await createProject();
  const run = project.start([], { npm: 'slow' });
  await project.untilNpmCalls(1);

  run.process.kill('SIGTERM');

  expect(await run.ended).toMatchObject({ code: 143, stderr: expect.stringContaining('stopped by SIGTERM') as string });
  expect(await project.scratch()).toEqual(['packages.log']);
  expect((await project.npmPids()).filter(isAlive)).toEqual([]);
});

test('without a network there is one clear line, and nothing half installed', async () => {
  const project = await createProject();

  const offline = await project.start([], { npm: 'offline' }).ended;

  expect(offline.code).toBe(1);
  expect(offline.stderr.trim().split('\n').slice(1)).toEqual([
    'harnessd: the packages could not be fetched: no connection to the npm registry (EAI_AGAIN). Check the network, ' +
      "or npm's registry and proxy settings, and run the same command again. (npm's log: .setup/packages.log)",
  ]);
  expect(await readdir(project.path)).not.toContain('node_modules');
  expect((await project.start([]).ended).code).toBe(0);
});

test('a package for this machine that npm silently left out is missed', async () => {
  const project = await createProject();

  const { code, stderr } = await project.start([], { npm: 'offline for optional packages' }).ended;

  expect(code).toBe(1);
  expect(stderr).toContain(
    'the packages (some-binary) could not be fetched: no connection to the npm registry (ECONNREFUSED)',
  );
});

test('a signal reaches the command', async () => {
  const project = await createProject();
  const run = project.start(['--stay']);
  await untilPrinted(run.process, 'staying');

  run.process.kill('SIGTERM');

  expect((await run.ended).code).toBe(15);
});

/** A project with the real set-up scripts, one package, a command that shows what it was given, and a scripted npm. */
async function createProject() {
  const folder = await mkdtemp(path.join(tmpdir(), 'harnessd-test-'));
  const calls = path.join(folder, 'npm-calls');
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  for (const file of ['setup.mjs', 'install.mjs', 'lock.mjs', 'environment.mjs', 'harnessd']) {
    await cp(path.join(root, 'runtime', file), path.join(folder, 'runtime', file));
  }
  const forThisMachine = { os: [process.platform], cpu: [process.arch], optional: true };
  await write('package.json', { name: 'main', type: 'module' });
  await write('package-lock.json', { packages: { 'node_modules/some-binary': forThisMachine } });
  await write('runtime/package.json', { name: 'runtime', optionalDependencies: { 'some-node': '26.0.0' } });
  await write('runtime/package-lock.json', { packages: { 'node_modules/some-node': forThisMachine } });
  const executorLock = await write('executors/cli/claude/package-lock.json', {});
  const executorStamp = `${createHash('sha256').update(executorLock).digest('hex')}-${stamp}`;
  await mkdir(path.join(folder, 'executors/cli/claude/node_modules'));
  await writeFile(path.join(folder, 'executors/cli/claude/node_modules/.stamp'), executorStamp);
  await mkdir(path.join(folder, 'src'));
  await writeFile(
    path.join(folder, 'src/main.ts'),
    `const args: string[] = process.argv.slice(2);
     if (args.includes('--stay')) {
       process.on('SIGTERM', () => process.exit(15));
       setInterval(() => {}, 1000);
       console.error('staying');
     } else {
       console.log(JSON.stringify({ args, env: process.env }));
       process.exitCode = Number(args.find((arg) => arg.startsWith('--exit='))?.slice(7) ?? 0);
     }`,
  );

  async function write(file: string, content: object): Promise<string> {
    const json = JSON.stringify(content);
    await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
    await writeFile(path.join(folder, file), json);
    return json;
  }

  const readCalls = async () => {
    const lines = (await readFile(calls, 'utf8').catch(() => '')).split('\n').filter(Boolean);
    return lines.map((line) => JSON.parse(line) as { name: string; pid: number });
  };

  return {
    path: folder,
    start(args: readonly string[], { npm = 'online', nodeArgs = [] as readonly string[] } = {}) {
      const child = spawn(process.execPath, [...nodeArgs, 'runtime/setup.mjs', 'start', ...args], {
        cwd: folder,
        detached: true, // a process group, so that all of it can be ended
        env: {
          PATH: `${folder}/node_modules/.bin:/node_modules/.bin:/npm/node-gyp-bin:/usr/bin:/home/me/node_modules/.bin:/bin`,
          INIT_CWD: folder,
          NODE: process.execPath,
          COLOR: '0',
          npm_lifecycle_event: 'start',
          npm_config_user_agent: 'npm',
          npm_execpath: path.join(root, 'test/fixtures/npm-cli.js'),
          FAKE_NPM: npm,
          FAKE_NPM_CALLS: calls,
          FAKE_NPM_NODE: process.execPath,
        },
      });
      onTestFinished(() => void (isAlive(-child.pid!) && process.kill(-child.pid!, 'SIGKILL')));
      return { process: child, ended: collect(child) };
    },
    changeLockfile: () => write('package-lock.json', { packages: {}, changed: true }),
    npmCalls: async () => (await readCalls()).map(({ name }) => name),
    npmPids: async () => (await readCalls()).map(({ pid }) => pid),
    async untilNpmCalls(count: number) {
      while ((await readCalls()).length < count) await sleep(10);
    },
    letNpmGo: () => writeFile(`${calls}.go`, ''),
    scratch: async () => (await readdir(path.join(folder, '.setup'))).sort(),
  };
}

async function collect(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const exited = new Promise<number | null>((resolve) => child.on('close', resolve));
  const [code, stdout, stderr] = await Promise.all([exited, text(child.stdout!), text(child.stderr!)]);
  return { code, stdout, stderr };
}

async function untilPrinted(child: ChildProcess, words: string): Promise<void> {
  let printed = '';
  await new Promise<void>((resolve) => {
    child.stderr!.on('data', (chunk: Buffer) => {
      printed += String(chunk);
      if (printed.includes(words)) resolve();
    });
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
