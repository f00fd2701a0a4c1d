import { join } from 'node:path';
import { defineExecutor, type PlanRequest } from '../src/kit/executor.ts';

const provider = 'harnessd';
const configFile = 'opencode.json';
const longMs = 86_400_000; // what the turn's own limits leave unbounded
const plugin = new URL('opencode-plugin.ts', import.meta.url).href;

export const opencode = defineExecutor({
  id: 'opencode',
  title: 'OpenCode',
  program: { binaries: { 'linux-x64': 'opencode-linux-x64-baseline/bin/opencode' } },
  modes: ['credits'],
  defaultModel: 'gemini-3.1-pro',
  credentialVariables: { credits: 'OPENROUTER_API_KEY' },
  baseUrlVariable: 'OPENROUTER_BASE_URL',
  steeredBy: ['OPENCODE_', 'OPENROUTER_', 'XDG_'],
  stopSignal: 'SIGTERM',
  conversation: () => 'data/opencode/opencode.db', // one database for all sessions of the task

  plan: (request) => ({
    args: [
      'run',
      '--format',
      'json',
      '--thinking',
      '--title=', // the beginning of the prompt, instead of a request to the model for one
      '--model',
      `${provider}/${request.model}`,
      ...(request.resume === undefined ? [] : ['--session', request.resume]),
    ],
    env: {
      OPENCODE_CONFIG: join(request.configDir, configFile),
      OPENCODE_TEST_HOME: request.configDir, // where it looks for `.opencode`, `.claude` and `.agents`, not for what its tools call HOME
      // These do not reach its children (opencode-plugin.ts). Its cache, which holds what it downloads, stays the computer's.
      XDG_CONFIG_HOME: join(request.configDir, 'config'),
      XDG_DATA_HOME: join(request.configDir, 'data'),
      XDG_STATE_HOME: join(request.configDir, 'state'),
      OPENCODE_DISABLE_PROJECT_CONFIG: '1', // a workspace could send the key elsewhere, or name servers (its `.opencode/plugin` runs all the same)
      OPENCODE_DISABLE_AUTOUPDATE: '1',
      OPENCODE_DISABLE_MODELS_FETCH: '1',
      OPENCODE_DISABLE_LSP_DOWNLOAD: '1',
    },
    files: {
      [configFile]: literally(JSON.stringify(configOf(request))),
      // Else it asks the npm registry for its plugin library at every start, and waits for the answer.
      'config/opencode/package-lock.json': JSON.stringify({
        packages: { '': { dependencies: { '@opencode-ai/plugin': '*' } } },
      }),
      'config/opencode/node_modules/.none': '',
    },
    stdin: request.prompt,
  }),

  parser: async () => (await import('./opencode-events.ts')).parser,
});

/** It puts variables and files in place of `{env:…}` and `{file:…}` before it reads the JSON: in a credential or a path they are text. */
const literally = (json: string): string => json.replaceAll(/\{(?=env:|file:)/g, '\\u007b');

function configOf({ model, credential, mcp, workspace }: PlanRequest): object {
  const root = (credential.baseUrl ?? 'https://openrouter.ai/api').replace(/\/+$/, '').replace(/\/v1$/, '');
  return {
    autoupdate: false,
    share: 'disabled',
    permission: 'allow',
    enabled_providers: [provider],
    model: `${provider}/${model}`,
    small_model: `${provider}/${model}`,
    provider: {
      [provider]: {
        npm: '@ai-sdk/openai-compatible',
        name: provider,
        options: {
          baseURL: `${root}/v1`,
          apiKey: credential.value.open(),
          headerTimeout: false,
          chunkTimeout: longMs,
        },
        // What every model that harnessd knows can take at least: the conversation is shortened in time.
        models: { [model]: { name: model, limit: { context: 200_000, output: 32_000 } } },
      },
    },
    mcp: {
      [mcp.name]: {
        type: 'remote',
        url: mcp.url,
        headers: { Authorization: `Bearer ${mcp.token.open()}` },
        oauth: false,
        timeout: longMs,
      },
    },
    instructions: [join(workspace, 'AGENTS.md'), join(workspace, 'CLAUDE.md')],
    plugin: [plugin],
  };
}
