import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { installCli, isInstalled, stampOf } from '../src/install/cli.ts';
import { versionOf } from '../src/install/pinned-version.ts';
import { causeOf, npmEnv } from '../src/install/npm.ts';

/** A product with one pinned CLI and an npm that is a shell script. */
async function createProduct(npm: string) {
  const productDir = await mkdtemp(join(tmpdir(), 'harnessd-install-'));
  onTestFinished(() => rm(productDir, { recursive: true, force: true }));
  const [folder, bin] = [join(productDir, 'executors', 'cli', 'demo'), join(productDir, 'bin')];
  await mkdir(folder, { recursive: true });
  await mkdir(bin);
  await writeFile(
    join(folder, 'package.json'),
    JSON.stringify({ optionalDependencies: { '@demo/here': '1.2.3', '@demo/there': '1.2.3' } }),
  );
  await writeFile(join(folder, 'package-lock.json'), '{}');
  await writeFile(join(folder, '.npmrc'), 'ignore-scripts=true\n');
  await writeFile(join(bin, 'npm'), `#!/bin/sh\necho "$1" >>${productDir}/calls\n${npm}`);
  await chmod(join(bin, 'npm'), 0o755);
  const progress: string[] = [];
  return {
    folder,
    progress,
    install: (signal = new AbortController().signal) =>
      installCli('demo', {
        productDir,
        env: { PATH: `${bin}:/usr/bin:/bin` },
        onProgress: (line) => progress.push(line),
        signal,
      }),
    isInstalled: () => isInstalled('demo', productDir),
    version: () => versionOf('demo', productDir),
    calls: async () =>
      (await readFile(join(productDir, 'calls'), 'utf8').catch(() => '')).trim().split('\n').filter(Boolean),
    left: () => readdir(join(folder, '.setup')),
  };
}

const brings = 'mkdir -p node_modules/@demo/here && echo {} >node_modules/@demo/here/package.json';

test('a CLI is installed once, and again when its lockfile has changed', async () => {
  const product = await createProduct(brings);
  expect([await product.version(), await product.isInstalled()]).toEqual(['1.2.3', false]);

  const first = await product.install();
  const second = await product.install();
  await writeFile(join(product.folder, 'package-lock.json'), '{"changed": true}');
  const third = await product.install();

  expect([first, second, third]).toEqual([true, false, true].map((changed) => ({ version: '1.2.3', changed })));
  expect(await product.calls()).toEqual(['ci', 'ci']);
  expect(await readFile(join(product.folder, 'node_modules', '.stamp'), 'utf8')).toBe(await stampOf(product.folder));
  expect(await product.left()).toEqual([]);
});

test('two installations at once run npm once', async () => {
  const product = await createProduct(`sleep 0.3; ${brings}`);

  const both = await Promise.all([product.install(), product.install()]);

  expect(new Set(both.map(({ changed }) => changed))).toEqual(new Set([false, true]));
  expect(await product.calls()).toEqual(['ci']);
  expect(product.progress).toContain('waiting for another installation of demo');
});

test('an npm that brings nothing and exits 0 has failed, and says that there is no network', async () => {
  const product = await createProduct(
    'echo "npm http fetch GET https://r/@demo%2fhere attempt 3 failed with ENOTFOUND" >&2',
  );

  await expect(product.install()).rejects.toThrow(
    'demo was not installed: the npm registry cannot be reached (ENOTFOUND); connect to the network and try again',
  );

  expect([await product.isInstalled(), await product.left()]).toEqual([false, []]);
});

test('a failed update leaves what was there', async () => {
  const product = await createProduct(`[ -e ../../fail ] && exit 1; ${brings}`);
  await product.install();
  await writeFile(join(product.folder, 'package-lock.json'), '{"changed": true}');
  await writeFile(join(product.folder, 'fail'), '');

  await expect(product.install()).rejects.toThrow('demo was not installed');

  expect(await readdir(join(product.folder, 'node_modules', '@demo'))).toEqual(['here']);
});

test('an installation that is cancelled ends its npm and leaves nothing', async () => {
  const product = await createProduct('exec sleep 60');
  const cancelled = new AbortController();
  const installing = product.install(cancelled.signal);
  await expect.poll(() => product.calls()).toEqual(['ci']);

  cancelled.abort();

  await expect(installing).rejects.toThrow('abort');
  expect(await product.left()).toEqual([]);
});

test('npm gets what it needs to reach a registry, and nothing else', () => {
  const given = {
    PATH: '/bin',
    HOME: '/h',
    HTTPS_PROXY: 'p',
    no_proxy: 'n',
    NODE_EXTRA_CA_CERTS: 'c',
    npm_config_registry: 'r',
    'npm_config_//r/:_authToken': 't',
    npm_config_userconfig: 'u',
    npm_config_omit: 'optional',
    npm_config_global: 'true',
    npm_lifecycle_event: 'start',
    NODE_OPTIONS: '--inspect',
    ANTHROPIC_API_KEY: 'secret',
  };
  const { PATH, ...rest } = npmEnv(given);
  expect(PATH).toMatch(/^\/bin:/);
  expect(rest).toEqual({
    HOME: '/h',
    HTTPS_PROXY: 'p',
    no_proxy: 'n',
    NODE_EXTRA_CA_CERTS: 'c',
    npm_config_registry: 'r',
    'npm_config_//r/:_authToken': 't',
    npm_config_userconfig: 'u',
  });
});

test.for([
  ['npm error code E404\nnpm error 404 Not Found - GET https://r/x', '404 Not Found - GET https://r/x'],
  ['npm http fetch GET 503 https://r/x 12ms', 'the npm registry answered 503 for https://r/x'],
  [
    'npm error code ECONNREFUSED\nnpm error errno ECONNREFUSED',
    'the npm registry cannot be reached (ECONNREFUSED); connect to the network and try again',
  ],
  ['npm error code EINTEGRITY\nnpm error sha512-x integrity checksum failed', 'sha512-x integrity checksum failed'],
  ['', 'npm brought no package for this platform'],
])('what npm says (%j) in a few words', ([said, cause]) => {
  expect(causeOf(said!)).toBe(cause);
});
