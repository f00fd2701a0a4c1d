import { join } from 'node:path';
import type { Config } from './config/schema.ts';
import { ProviderCredentials } from './credentials/provider-credentials.ts';
import { versionOf } from './install/pinned-version.ts';
import type { Executor } from './kit/executor.ts';
import { RefreshedCredentials } from './task/refreshed-credentials.ts';

interface ReadRulesOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly productDir: string;
  readonly executors: readonly Executor[];
}

/** What has to be read before it is known what turns may run with. */
export async function readRules({ config, env, productDir, executors }: ReadRulesOptions) {
  const [own, refreshed, versions] = await Promise.all([
    ProviderCredentials.open(executors, env, config.credentials.file),
    RefreshedCredentials.open(join(config.stateDir, 'refreshed')),
    Promise.all(executors.map(async ({ id }) => [id, await versionOf(id, productDir)] as const)),
  ]);
  return { own, refreshed, versions: Object.fromEntries(versions) };
}

export type Rules = Awaited<ReturnType<typeof readRules>>;
