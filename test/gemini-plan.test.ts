import { describe, expect, test } from 'vitest';
import { gemini } from '../executors/gemini.ts';
import { Secret } from '../src/base/secret.ts';
import type { Credential, PlanRequest } from '../src/kit/executor.ts';

describe('the plan', () => {
  const key = new Secret('key');
  const request = (credential: Partial<Credential>, more: Partial<PlanRequest> = {}): PlanRequest => ({
    prompt: '--help\n-p',
    model: 'm',
    credential: { mode: 'api_key', value: key, ...credential },
    mcp: { name: 'harnessd', url: 'http://127.0.0.1:7/mcp', token: new Secret('turn-token') },
    workspace: '/w',
    configDir: '/c',
    tmpDir: '/t',
    ...more,
  });
  const args = '--output-format stream-json --yolo --skip-trust --allowed-mcp-server-names harnessd --model m'.split(
    ' ',
  );
  const own = { GEMINI_CLI_HOME: '/c', GEMINI_CLI_NO_RELAUNCH: 'true' };
  const vendor = 'https://generativelanguage.googleapis.com';
  const codeAssist = 'https://cloudcode-pa.googleapis.com';

  test.for([
    ['api_key', { GEMINI_API_KEY: key }, { GOOGLE_GEMINI_BASE_URL: vendor }, 'gemini-api-key'],
    [
      'credits',
      { GEMINI_API_KEY: key, GEMINI_API_KEY_AUTH_MECHANISM: 'bearer' },
      { GOOGLE_GEMINI_BASE_URL: vendor },
      'gemini-api-key',
    ],
    [
      'oauth',
      { GOOGLE_GENAI_USE_GCA: 'true', GOOGLE_CLOUD_ACCESS_TOKEN: key },
      { CODE_ASSIST_ENDPOINT: codeAssist },
      'oauth-personal',
    ],
  ] as const)(
    'gives a credential of the mode %s by its own variables with its address, and the prompt by standard input',
    ([mode, variables, address, selectedType]) => {
      const plan = gemini.plan(request({ mode }));
      expect({ ...plan, files: Object.keys(plan.files) }).toEqual({
        args,
        env: { ...own, ...variables, ...address },
        files: ['.gemini/settings.json'],
        stdin: '--help\n-p',
      });
      expect(JSON.parse(plan.files['.gemini/settings.json']!)).toMatchObject({
        security: { auth: { selectedType } },
        general: { maxAttempts: 2, sessionRetention: { enabled: false } },
        mcpServers: {
          harnessd: {
            httpUrl: 'http://127.0.0.1:7/mcp',
            headers: { Authorization: 'Bearer turn-token' },
            trust: true,
          },
        },
      });
      expect(gemini.plan(request({ mode, baseUrl: 'http://127.0.0.1:1' })).env).toEqual({
        ...own,
        ...variables,
        [Object.keys(address)[0]!]: 'http://127.0.0.1:1',
      });
    },
  );

  test('gives a login by its own file, and by no variable', () => {
    const { env, files } = gemini.plan(request({ mode: 'oauth', isFile: true }));
    expect(env).toEqual({ ...own, CODE_ASSIST_ENDPOINT: codeAssist });
    expect(files[gemini.credentialFile!]).toBe('key');
  });

  test('goes on with the conversation that is kept', () => {
    expect(gemini.plan(request({}, { resume: 'abcdefgh-i' })).args).toEqual([...args, '--resume', 'latest']);
    expect(gemini.conversation('abcdefgh-i')).toBe('.gemini/tmp/*/chats/session-*-abcdefgh.jsonl');
  });

  test('gives a prompt that begins with a slash as no command', () => {
    expect(gemini.plan(request({}, { prompt: '/quit' })).stdin).toBe('\n/quit');
  });
});
