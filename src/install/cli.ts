import { createHash, randomBytes } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { folderOf, pinned, versionOf } from './pinned-version.ts';
import { openFolderLock } from './folder-lock.ts';
import { causeOf, InstallError, runNpm, type Env } from './npm.ts';

export interface InstallOptions {
  /** The folder that holds harnessd's own package.json. */
  readonly productDir: string;
  readonly env: Env;
  /** Takes one line for a person. */
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Installed {
  readonly version: string;
  /** False when there was nothing to do. */
  readonly changed: boolean;
}

const npmCi = [
  'ci',
  '--ignore-scripts',
  '--include=optional',
  '--no-audit',
  '--no-fund',
  '--no-update-notifier',
  '--fetch-retry-mintimeout=500',
  '--fetch-retry-maxtimeout=5000',
];

/** Whether what is installed is what the lockfile pins, for this platform. */
export async function isInstalled(id: string, productDir: string): Promise<boolean> {
  const folder = folderOf(id, productDir);
  const found = await readFile(join(folder, 'node_modules', '.stamp'), 'utf8').catch(() => undefined); // none: not installed
  return found?.trim() === (await stampOf(folder));
}

/** sha256 of the lockfile and the platform, so that a clone shared between machines is installed anew. */
export async function stampOf(folder: string): Promise<string> {
  const lockfile = await readFile(join(folder, 'package-lock.json'));
  return `${createHash('sha256').update(lockfile).digest('hex')}-${process.platform}-${process.arch}`;
}

/** Installs the pinned CLI of an executor: built aside and renamed in, so that what is there is always whole. */
export async function installCli(id: string, options: InstallOptions): Promise<Installed> {
  const { productDir, onProgress, signal } = options;
  const version = await versionOf(id, productDir);
  if (version === undefined) throw new InstallError(`${id} is not an executor that harnessd brings along`);
  if (await isInstalled(id, productDir)) return { version, changed: false };

  const workshop = join(folderOf(id, productDir), '.setup');
  await mkdir(workshop, { recursive: true });
  await using _lock = await openFolderLock(join(workshop, 'lock'), {
    signal,
    onWait: () => onProgress(`waiting for another installation of ${id}`),
  });
  if (await isInstalled(id, productDir)) return { version, changed: false };

  for (const left of await readdir(workshop)) {
    if (left.startsWith('build-')) await rm(join(workshop, left), { recursive: true, force: true });
  }
  onProgress(`installing ${id} ${version} with npm (some hundred MiB, once)`);
  await build(id, join(workshop, `build-${randomBytes(4).toString('hex')}`), options);
  return { version, changed: true };
}

async function build(id: string, aside: string, { productDir, env, signal }: InstallOptions): Promise<void> {
  const folder = folderOf(id, productDir);
  const [modules, made] = [join(folder, 'node_modules'), join(aside, 'node_modules')];
  await mkdir(aside);
  try {
    for (const name of ['package.json', 'package-lock.json', '.npmrc'])
      await copyFile(join(folder, name), join(aside, name));
    const { code, said } = await runNpm({ args: npmCi, folder: aside, env, signal });
    // npm takes an optional package that it cannot get for a success.
    if (code !== 0 || !(await hasPackage(aside))) throw new InstallError(`${id} was not installed: ${causeOf(said)}`);
    await writeFile(join(made, '.stamp'), await stampOf(aside));
    if (await exists(modules)) await rename(modules, join(aside, 'replaced'));
    await rename(made, modules);
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

async function hasPackage(folder: string): Promise<boolean> {
  const names = Object.keys(await pinned(folder));
  const found = await Promise.all(names.map((name) => exists(join(folder, 'node_modules', name, 'package.json'))));
  return found.includes(true);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
