import { join } from 'node:path';
import { defineExecutor, type Credential, type Secret } from '../src/kit/executor.ts';

const mcpFile = 'harnessd-mcp.json';
const credentialFile = '.credentials.json';
const variables = {
  credits: 'ANTHROPIC_AUTH_TOKEN',
  api_key: 'ANTHROPIC_API_KEY',
  oauth: 'CLAUDE_CODE_OAUTH_TOKEN',
} as const;

export const claude = defineExecutor({
  id: 'claude',
  title: 'Claude Code',
  program: {
    binaries: {
      'linux-x64': '@anthropic-ai/claude-code-linux-x64/claude',
      'linux-arm64': '@anthropic-ai/claude-code-linux-arm64/claude',
      'linux-x64-musl': '@anthropic-ai/claude-code-linux-x64-musl/claude',
      'linux-arm64-musl': '@anthropic-ai/claude-code-linux-arm64-musl/claude',
      'darwin-x64': '@anthropic-ai/claude-code-darwin-x64/claude',
      'darwin-arm64': '@anthropic-ai/claude-code-darwin-arm64/claude',
    },
  },
  provider: 'anthropic',
  modes: ['credits', 'api_key', 'oauth'],
  defaultModel: 'claude-sonnet-4.6',
  credentialVariables: variables,
  credentialFile,
  baseUrlVariable: 'ANTHROPIC_BASE_URL',
  steeredBy: ['ANTHROPIC_', 'CLAUDE_', 'AWS_BEARER_TOKEN_BEDROCK', 'VERTEX_REGION_', 'CLOUD_ML_', 'API_TIMEOUT_MS'],
  stopSignal: 'SIGINT', // only then does it give a last result, with what was used
  conversation: (session) => `projects/*/${session}.jsonl`,

  plan: ({ prompt, model, resume, credential, mcp, workspace, configDir, tmpDir }) => ({
    args: [
      '--print',
      '--output-format',
      'stream-json',
      '--verbose',
      '--include-partial-messages',
      '--dangerously-skip-permissions',
      '--mcp-config',
      join(configDir, mcpFile),
      '--strict-mcp-config', // no server but those that it is given by file, whatever the workspace names
      '--model',
      model,
      '--managed-settings',
      settingsOf(model),
      ...(credential.isFile ? ['--setting-sources', 'user', '--add-dir', workspace] : []),
      ...(resume === undefined ? [] : ['--resume', resume]),
    ],
    env: {
      CLAUDE_CONFIG_DIR: configDir,
      CLAUDE_CODE_TMPDIR: tmpDir,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      CLAUDE_CODE_MAX_RETRIES: '3', // its own default of 10 keeps a turn for three minutes at a door that is shut
      DISABLE_AUTOUPDATER: '1',
      IS_SANDBOX: '1', // as root it refuses to run without asking, unless told that the machine is its own
      ENABLE_TOOL_SEARCH: 'false', // else the tools of MCP servers are hidden behind a search
      // Whatever it would ask another model for, a sub-agent or a title, it asks the turn's own.
      ANTHROPIC_DEFAULT_OPUS_MODEL: model,
      ANTHROPIC_DEFAULT_SONNET_MODEL: model,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
      ANTHROPIC_DEFAULT_FABLE_MODEL: model,
      ANTHROPIC_SMALL_FAST_MODEL: model,
      CLAUDE_CODE_SUBAGENT_MODEL: model,
      ANTHROPIC_BASE_URL: credential.baseUrl ?? 'https://api.anthropic.com',
      ...credentialOf(credential),
    },
    files: {
      [mcpFile]: JSON.stringify({
        mcpServers: {
          [mcp.name]: { type: 'http', url: mcp.url, headers: { Authorization: `Bearer ${mcp.token.open()}` } },
        },
      }),
      ...(credential.isFile && { [credentialFile]: credential.value.open() }),
    },
    stdin: prompt.startsWith('/') ? `\n${prompt}` : prompt, // else it may be taken for a command of the CLI
  }),

  parser: async () => (await import('./claude-events.ts')).parser,
});

/** No model but the turn's own, whatever the settings, agents and skills of the workspace name: nothing there outranks these. */
function settingsOf(model: string): string {
  return JSON.stringify({
    availableModels: [model],
    availableModelsMatch: 'exact',
    modelOverrides: { [model]: model },
  });
}

/** And what keeps the settings of the workspace from sending it elsewhere. */
function credentialOf({ isFile, mode, value }: Credential): Record<string, string | Secret> {
  // With a login by file the CLI would find none if its host managed it. So the workspace's settings are not read, and its skills with them; its CLAUDE.md is.
  if (isFile) return { CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD: '1' };
  return { CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST: '1', [variables[mode]]: value };
}
