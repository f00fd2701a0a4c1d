import { describe, expect, test } from 'vitest';
import { opencode } from '../executors/opencode.ts';
import { Secret } from '../src/base/secret.ts';
import type { Credential, PlanRequest } from '../src/kit/executor.ts';

describe('the plan', () => {
  const request = (credential: Partial<Credential> = {}, more: Partial<PlanRequest> = {}): PlanRequest => ({
    prompt: '--help\n-p',
    model: 'z-ai/glm-5:free',
    credential: { mode: 'credits', value: new Secret('the-key'), ...credential },
    mcp: { name: 'harnessd', url: 'http://127.0.0.1:7/mcp', token: new Secret('turn-token') },
    workspace: '/workspace',
    configDir: '/config',
    tmpDir: '/tmp/turn',
    ...more,
  });
  const configOf = (credential: Partial<Credential>): unknown =>
    JSON.parse(opencode.plan(request(credential)).files['opencode.json']!);

  test('[P6.2] gives the prompt by standard input, and its secrets by a private file alone', () => {
    const plan = opencode.plan(request());
    expect(plan).toMatchObject({
      args: ['run', '--format', 'json', '--thinking', '--title=', '--model', 'harnessd/z-ai/glm-5:free'],
      stdin: '--help\n-p',
    });
    expect(JSON.stringify([plan.args, plan.env])).not.toMatch(/the-key|turn-token/);
    expect(Object.values(plan.env).filter((value) => value instanceof Secret)).toEqual([]);
    expect(configOf({})).toMatchObject({
      autoupdate: false,
      share: 'disabled',
      permission: 'allow',
      enabled_providers: ['harnessd'],
      model: 'harnessd/z-ai/glm-5:free',
      small_model: 'harnessd/z-ai/glm-5:free',
      provider: { harnessd: { options: { apiKey: 'the-key' }, models: { 'z-ai/glm-5:free': {} } } },
      mcp: {
        harnessd: {
          type: 'remote',
          url: 'http://127.0.0.1:7/mcp',
          headers: { Authorization: 'Bearer turn-token' },
        },
      },
    });
  });

  test.for([
    [undefined, 'https://openrouter.ai/api/v1'],
    ['http://proxy', 'http://proxy/v1'],
    ['http://proxy/', 'http://proxy/v1'],
    ['https://openrouter.ai/api/v1', 'https://openrouter.ai/api/v1'],
    ['http://proxy/v1/', 'http://proxy/v1'],
  ] as const)('asks for chat completions below %s at %s', ([baseUrl, expected]) => {
    expect(configOf(baseUrl === undefined ? {} : { baseUrl })).toMatchObject({
      provider: { harnessd: { options: { baseURL: expected } } },
    });
  });

  test('[P6.2] has no variable and no file put in place of what a credential or a path holds', () => {
    const value = new Secret('tok{env:HOME}{file:/etc/passwd}');
    const workspace = '/w{file:nope}';
    const text = opencode.plan(request({ value }, { workspace })).files['opencode.json']!;
    expect(text).not.toMatch(/\{(env|file):/);
    expect(JSON.parse(text)).toMatchObject({
      provider: { harnessd: { options: { apiKey: value.open() } } },
      instructions: ['/w{file:nope}/AGENTS.md', '/w{file:nope}/CLAUDE.md'],
    });
  });

  test('goes on with a conversation', () => {
    expect(opencode.plan(request({}, { resume: 'ses_1' })).args.slice(-2)).toEqual(['--session', 'ses_1']);
  });
});
