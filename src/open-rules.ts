import { join } from 'node:path';
import { models } from '../executors/models.ts';
import type { Clock } from './base/clock.ts';
import type { Config } from './config/schema.ts';
import { ProviderCredentials } from './credentials/provider-credentials.ts';
import { versionOf } from './install/pinned-version.ts';
import type { Executor } from './kit/executor.ts';
import type { Store } from './store/store.ts';
import { Admission } from './task/admission.ts';
import { Credentials } from './task/credentials.ts';
import { InstalledExecutors } from './task/installed-executors.ts';
import { Policies } from './task/policies.ts';
import { RefreshedCredentials } from './task/refreshed-credentials.ts';

interface OpenRulesOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly productDir: string;
  readonly executors: readonly Executor[];
  readonly clock: Clock;
}

/** What has to be read before it is known what turns may run with. */
export async function readRules({ config, env, productDir, executors }: OpenRulesOptions) {
  const [own, refreshed, versions] = await Promise.all([
    ProviderCredentials.open(executors, env, config.credentials.file),
    RefreshedCredentials.open(join(config.stateDir, 'refreshed')),
    Promise.all(executors.map(async ({ id }) => [id, await versionOf(id, productDir)] as const)),
  ]);
  return { own, refreshed, versions: Object.fromEntries(versions) };
}

type Read = Awaited<ReturnType<typeof readRules>>;

/** What turns may run with: which executors there are, whose credentials, what the policy allows. */
export function openRules(options: OpenRulesOptions, { own, refreshed, versions }: Read, store: Store) {
  const { config, productDir, executors, clock } = options;
  const credentials = new Credentials({ store, clock, executors, own, refreshed });
  const policies = new Policies({ store, clock, executors, models });
  const addresses = directBaseUrls(config);
  const admission = new Admission({
    policies,
    credentials,
    isOfflineAllowed: config.offlineModel === 'auto',
    directBaseUrl: (provider, mode) => addresses[`${provider}:${mode}`],
  });
  const installed = new InstalledExecutors({
    definitions: executors,
    cliDir: join(productDir, 'executors', 'cli'),
    binaries: Object.fromEntries(config.executors.binaries.map((entry) => entry.split('=', 2) as [string, string])),
    versions,
  });
  return { credentials, policies, admission, installed };
}

/** Where turns that go to a vendor directly are sent instead, by provider and way of paying. */
function directBaseUrls({ providers }: Config): Readonly<Record<string, string | undefined>> {
  const { anthropicBaseUrl, openaiBaseUrl, googleBaseUrl, codeAssistBaseUrl } = providers;
  return {
    'anthropic:api_key': anthropicBaseUrl,
    'anthropic:oauth': anthropicBaseUrl,
    'openai:api_key': openaiBaseUrl,
    'google:api_key': googleBaseUrl,
    'google:oauth': codeAssistBaseUrl,
  };
}
