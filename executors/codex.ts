import { defineExecutor } from '../src/kit/executor.ts';
import { configFile, keyVariable, writeConfig } from './codex-config.ts';

/**
 * The CLI keeps everything below CODEX_HOME, but reads skills from `$HOME/.agents/skills` too; and `/etc/codex`, if it is there.
 * Of the workspace it reads AGENTS.md and skills.
 */
export const codex = defineExecutor({
  id: 'codex',
  title: 'Codex',
  program: {
    binaries: {
      'linux-x64': '@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex',
      'linux-arm64': '@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex',
      'darwin-x64': '@openai/codex-darwin-x64/vendor/x86_64-apple-darwin/bin/codex',
      'darwin-arm64': '@openai/codex-darwin-arm64/vendor/aarch64-apple-darwin/bin/codex',
    },
  },
  provider: 'openai',
  modes: ['credits', 'api_key'],
  defaultModel: 'gpt-5.4',
  credentialVariables: { credits: 'CODEX_API_KEY', api_key: 'OPENAI_API_KEY' },
  baseUrlVariable: 'OPENAI_BASE_URL',
  steeredBy: ['CODEX_', 'OPENAI_'],
  stopSignal: 'SIGINT', // SIGTERM makes it leave its tools' processes behind
  conversation: (session) => `sessions/*/*/*/rollout-*-${session}.jsonl`,

  plan: ({ prompt, model, resume, credential, mcp, configDir }) => ({
    args: [
      'exec',
      ...(resume === undefined ? [] : ['resume']),
      '--json',
      '--dangerously-bypass-approvals-and-sandbox',
      '--skip-git-repo-check',
      '--model',
      model,
      ...(resume === undefined ? [] : [resume]),
      '-',
    ],
    env: { CODEX_HOME: configDir, [keyVariable]: credential.value },
    files: { [configFile]: writeConfig(credential.baseUrl, mcp) },
    stdin: prompt,
  }),

  usageCounts: 'session',
  parser: async () => (await import('./codex-events.ts')).parser,
});
