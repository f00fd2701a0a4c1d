import type { McpServer } from '../src/kit/executor.ts';

/** How often it asks a provider that refuses or fails; it waits 5 s before the second time, and tells nobody. */
const maxAttempts = 2;

interface SettingsOptions {
  readonly auth: 'gemini-api-key' | 'oauth-personal';
  readonly mcp: McpServer;
}

/** The text of Gemini CLI's settings file. */
export function settingsFile({ auth, mcp }: SettingsOptions): string {
  return JSON.stringify({
    // The workspace is trusted by `--skip-trust` alone, which counts only after the settings are read: its own never do.
    // `useExternal`: the credential is not looked for, which would fill the environment from the next `.gemini/.env` in or above the workspace.
    security: { auth: { selectedType: auth, useExternal: true }, folderTrust: { enabled: true } },
    privacy: { usageStatisticsEnabled: false },
    telemetry: { enabled: false },
    general: {
      maxAttempts,
      enableAutoUpdate: false,
      enableAutoUpdateNotification: false,
      sessionRetention: { enabled: false }, // a conversation is kept as long as its task
    },
    advanced: { ignoreLocalEnv: true }, // nor `.env`: it is the workspace's programs'
    context: { fileName: ['AGENTS.md', 'GEMINI.md'] },
    mcpServers: {
      [mcp.name]: { httpUrl: mcp.url, headers: { Authorization: `Bearer ${mcp.token.open()}` }, trust: true },
    },
    // Only with this do its chains of models count, without which it asks up to 10 times, and 5 times which model to take.
    experimental: { dynamicModelConfiguration: true },
    modelConfigs: { modelChains },
  });
}

const failures = ['terminal', 'transient', 'not_found', 'unknown'] as const;
const always = <T>(value: T): Readonly<Record<string, T>> => Object.fromEntries(failures.map((kind) => [kind, value]));

/** A failed model is given up; `prompt` without a person to ask takes no other in its place. */
const policy = (model: string, attempts: number): object => ({
  model,
  maxAttempts: attempts,
  actions: always('prompt'),
  stateTransitions: always('terminal'),
});

const preview = [policy('gemini-3-pro-preview', maxAttempts), { ...policy('flash', maxAttempts), isLastResort: true }];
const stable = [policy('gemini-2.5-pro', maxAttempts), { ...policy('flash', maxAttempts), isLastResort: true }];

const modelChains = {
  preview,
  'auto-preview': preview,
  default: stable,
  'auto-default': stable,
  lite: [{ ...policy('flash-lite', 1), isLastResort: true }], // it says which model to take; unasked, the large one is taken
};
