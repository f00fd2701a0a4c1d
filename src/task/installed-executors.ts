import { existsSync } from 'node:fs';
import type { Executor } from '../kit/executor.ts';
import { installedProgram } from '../kit/program.ts';
import type { InstalledExecutor } from './turn-services.ts';

interface InstalledExecutorsOptions {
  readonly definitions: readonly Executor[];
  /** Holds a folder for each executor's CLI. */
  readonly cliDir: string;
  /** By executor: a program to run instead of the installed one. */
  readonly binaries: Readonly<Record<string, string | undefined>>;
  /** By executor: the pinned version of its CLI. */
  readonly versions: Readonly<Record<string, string | undefined>>;
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
    const own = binaries[id];
    const argv = own === undefined ? installedProgram(definition, cliDir) : existsSync(own) ? [own] : undefined;
    const isPinned = own === undefined && argv !== undefined;
    return {
      definition,
      argv,
      version: isPinned ? versions[id] : undefined,
      command:
        versions[id] === undefined
          ? `set executors.binaries to ${id}=/its/program`
          : `harnessd executors install ${id}`,
    };
  }
}
