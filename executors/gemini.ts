import { defineExecutor, type Credential, type Secret } from '../src/kit/executor.ts';
import { settingsFile } from './gemini-settings.ts';

const settings = '.gemini/settings.json';
const credentialFile = '.gemini/oauth_creds.json';

export const gemini = defineExecutor({
  id: 'gemini',
  title: 'Gemini CLI',
  program: { script: '@google/gemini-cli/bundle/gemini.js' },
  provider: 'google',
  modes: ['credits', 'api_key', 'oauth'],
  defaultModel: 'auto-gemini-3',
  credentialVariables: {
    credits: 'GEMINI_PROXY_TOKEN', // the CLI has no variable for one: it takes GEMINI_API_KEY for both
    api_key: 'GEMINI_API_KEY',
    oauth: 'GOOGLE_CLOUD_ACCESS_TOKEN',
  },
  credentialFile,
  baseUrlVariable: 'GOOGLE_GEMINI_BASE_URL',
  steeredBy: ['GEMINI_', 'GOOGLE_', 'CODE_ASSIST_'],
  stopSignal: 'SIGTERM', // it exits at once and says nothing more, with SIGINT as well
  conversation: (session) => `.gemini/tmp/*/chats/session-*-${session.slice(0, 8)}.jsonl`,

  plan: ({ prompt, model, resume, credential, mcp, configDir }) => ({
    args: [
      '--output-format',
      'stream-json',
      '--yolo',
      '--skip-trust',
      '--allowed-mcp-server-names',
      mcp.name, // no server but this one, whatever the workspace names
      '--model',
      model,
      // The one that is kept. By its id a conversation cannot be resumed whose only request failed: its file holds nothing.
      ...(resume === undefined ? [] : ['--resume', 'latest']),
    ],
    env: {
      GEMINI_CLI_HOME: configDir,
      GEMINI_CLI_NO_RELAUNCH: 'true', // no second Node process
      ...variablesOf(credential),
    },
    files: {
      [settings]: settingsFile({ auth: credential.mode === 'oauth' ? 'oauth-personal' : 'gemini-api-key', mcp }),
      ...(credential.isFile && { [credentialFile]: credential.value.open() }),
    },
    stdin: prompt.startsWith('/') ? `\n${prompt}` : prompt, // else it may be taken for a command of the CLI
  }),

  parser: async () => (await import('./gemini-events.ts')).parser,
});

/** The address is always given, lest a file of the workspace give another for the credential to go to. */
function variablesOf({ mode, value, isFile, baseUrl }: Credential): Record<string, string | Secret> {
  if (mode === 'oauth') {
    return {
      ...(!isFile && { GOOGLE_GENAI_USE_GCA: 'true', GOOGLE_CLOUD_ACCESS_TOKEN: value }),
      CODE_ASSIST_ENDPOINT: baseUrl ?? 'https://cloudcode-pa.googleapis.com',
    };
  }
  return {
    GEMINI_API_KEY: value,
    ...(mode === 'credits' && { GEMINI_API_KEY_AUTH_MECHANISM: 'bearer' }), // beside x-goog-api-key, which it always sends
    GOOGLE_GEMINI_BASE_URL: baseUrl ?? 'https://generativelanguage.googleapis.com',
  };
}
