import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Executor } from '../kit/executor.ts';
import type { InstalledExecutor } from './turn-services.ts';

interface InstalledExecutorsOptions {
  readonly definitions: readonly Executor[];
  /** Holds a folder for each executor's CLI. */
  readonly cliDir: string;
  /** By executor: a program to run instead of the installed one. */
  readonly binaries: Readonly<Record<string, string | undefined>>;
  /** By executor: the pinned version of its CLI. */
  readonly versions: Readonly<Record<string, string>>;
}

/** The registry as this computer has it. Looked at anew each time: an executor may be installed while the daemon runs. */
export class InstalledExecutors {
  readonly #options: InstalledExecutorsOptions;

  constructor(options: InstalledExecutorsOptions) {
    this.#options = options;
  }

  get ids(): readonly string[] {
    return this.#options.definitions.map(({ id }) => id);
  }

  all(): readonly InstalledExecutor[] {
    return this.#options.definitions.map((definition) => this.#look(definition));
  }

  get(id: string): InstalledExecutor | undefined {
    const definition = this.#options.definitions.find((known) => known.id === id);
    return definition && this.#look(definition);
  }

  #look(definition: Executor): InstalledExecutor {
    const { cliDir, binaries, versions } = this.#options;
    const { id } = definition;
    const platform = `${process.platform}-${process.arch}`;
    const installed = [platform, `${platform}-musl`]
      .flatMap((name) => definition.binaries[name] ?? [])
      .map((path) => join(cliDir, id, 'node_modules', path));
    const own = binaries[id];
    const binary = (own === undefined ? installed : [own]).find((path) => existsSync(path));
    const isPinned = own === undefined && binary !== undefined;
    return {
      definition,
      binary,
      version: isPinned ? versions[id] : undefined,
      command: `harnessd executors install ${id}`,
    };
  }
}
