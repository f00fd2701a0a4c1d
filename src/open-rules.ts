import { join } from 'node:path';
import { models } from '../executors/models.ts';
import type { Clock } from './base/clock.ts';
import type { Config } from './config/schema.ts';
import type { Executor } from './kit/executor.ts';
import type { Rules } from './read-rules.ts';
import type { Store } from './store/store.ts';
import { Admission } from './task/admission.ts';
import { Credentials } from './task/credentials.ts';
import { InstalledExecutors } from './task/installed-executors.ts';
import { Policies } from './task/policies.ts';

interface OpenRulesOptions {
  readonly config: Config;
  readonly productDir: string;
  readonly executors: readonly Executor[];
  readonly clock: Clock;
  readonly store: Store;
}

/** What turns may run with: which executors there are, whose credentials, what the policy allows. */
export function openRules(options: OpenRulesOptions, { own, refreshed, versions }: Rules) {
  const { config, productDir, executors, clock, store } = options;
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
