import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { Clock } from './base/clock.ts';
import type { Secret } from './base/secret.ts';
import type { Config } from './config/schema.ts';
import type { ComputerService, Tool } from './kit/tool.ts';
import { McpDoor } from './mcp/door.ts';
import type { Store } from './store/store.ts';
import type { InstalledExecutors } from './task/installed-executors.ts';
import type { Layout } from './task/layout.ts';
import { ToolRegistry } from './tooling/registry.ts';

interface OpenToolsOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly tools: readonly Tool[];
  readonly store: Store;
  readonly layout: Layout;
  readonly home: string;
  readonly installed: InstalledExecutors;
  readonly macKey: Secret;
  /** What the daemon knows now. */
  readonly secrets: () => readonly Secret[];
  readonly about: Pick<ComputerService, 'version' | 'computerId' | 'containment' | 'isolation'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onStep: (step: string) => void;
}

/** The tools with what they may use of the daemon, and the door by which executors reach them. */
export function openTools(options: OpenToolsOptions): { registry: ToolRegistry; mcp: McpDoor } {
  const { config, env, tools, store, layout, home, installed, macKey, secrets, about, clock, log, onStep } = options;
  const computer: ComputerService = {
    ...about,
    home,
    path: env['PATH'] ?? '',
    executors: () =>
      installed.all().map(({ definition, argv, version }) => ({
        executor: definition.id,
        available: argv !== undefined,
        ...(version !== undefined && { version }),
      })),
    tools: () => tools.map(({ name }) => name),
  };
  const registry = new ToolRegistry({
    tools,
    store,
    macKey,
    clock,
    log,
    onStep,
    services: { computer },
    limits: config.tools,
    secretsOf: async (turnId) => [
      ...secrets().map((secret) => secret.open()),
      ...(turnId === null ? [] : await readSecrets(layout.turn(turnId).secrets)),
    ],
  });
  const mcp = new McpDoor({
    registry,
    turnOf: (tokenHash) => {
      const turn = store.openTurnByToken(tokenHash);
      return turn?.stopCause === null ? turn : undefined;
    },
    version: about.version,
    maxBytes: config.tools.requestBytes,
    log,
  });
  return { registry, mcp };
}

/** What a turn's output is masked of, while it runs. */
async function readSecrets(path: string): Promise<readonly string[]> {
  const text = await readFile(path, 'utf8').catch(() => '[]'); // the turn has just ended
  return JSON.parse(text) as string[]; // our own private file
}
