import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The pinned version of an executor's CLI; undefined for one that is not brought along, or whose pins do not agree. */
export async function versionOf(id: string, productDir: string): Promise<string | undefined> {
  const specs = Object.values(await pinned(folderOf(id, productDir)));
  // An alias (`npm:@openai/codex@0.169.0-linux-x64`) names the platform behind the version.
  const versions = new Set(specs.map((spec) => /\d+\.\d+\.\d+/.exec(spec)?.[0]));
  return versions.size === 1 ? [...versions][0] : undefined;
}

/** Package → version, as package.json pins them. */
export async function pinned(folder: string): Promise<Record<string, string>> {
  const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => '{}'); // none: nothing is pinned
  const manifest = JSON.parse(text) as Readonly<Record<string, Record<string, string> | undefined>>;
  // Programs for several platforms are optional, one for all is not: npm leaves out an optional one that names another Node.
  return { ...manifest['dependencies'], ...manifest['optionalDependencies'] };
}

/** Where the pinned CLI of an executor is. */
export function folderOf(id: string, productDir: string): string {
  return join(productDir, 'executors', 'cli', id);
}
