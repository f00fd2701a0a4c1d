import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Executor } from './executor.ts';

/** What runs an executor's installed CLI, without its arguments; undefined when there is none for this platform. */
export function installedProgram({ id, program }: Executor, cliDir: string): readonly string[] | undefined {
  const pathOf = (name: string): string => join(cliDir, id, 'node_modules', name);
  if ('script' in program) {
    const script = pathOf(program.script);
    return existsSync(script) ? [process.execPath, script] : undefined;
  }
  const platform = `${process.platform}-${process.arch}`;
  const names = [platform, `${platform}-musl`].flatMap((name) => program.binaries[name] ?? []);
  const found = names.map(pathOf).find((path) => existsSync(path));
  return found === undefined ? undefined : [found];
}
