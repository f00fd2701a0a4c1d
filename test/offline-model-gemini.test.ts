import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RequestLog } from '../src/offline-model/request-log.ts';
import { OfflineModel } from '../src/offline-model/server.ts';

const log = new RequestLog();
const model = new OfflineModel(log);
let url: string;

beforeAll(async () => {
  url = `http://127.0.0.1:${await model.listen(0)}`;
});

afterAll(() => model[Symbol.asyncDispose]());

type Json = Record<string, unknown>;

const containing = (text: string): unknown => expect.stringContaining(text);
const tools = [{ functionDeclarations: [{ name: 'run_shell_command' }] }];
const context = user('<session_context>\nThis is the Gemini CLI. {{say: not this}}\n</session_context>');

function user(text: string): Json {
  return { role: 'user', parts: [{ text }] };
}

async function ask(contents: unknown, fields: Json = {}, path = '/v1beta/models/gemini-x:generateContent') {
  return fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify({ contents, tools, ...fields }) });
}

/** The parts of the only candidate. */
async function parts(answer: Response): Promise<Json[]> {
  const { candidates } = (await answer.json()) as { candidates: { content: { parts: Json[] } }[] };
  return candidates[0]?.content.parts ?? [];
}

describe('Gemini', () => {
  test('streams thoughts, text and calls, and closes with a reason and the usage', async () => {
    const prompt = [context, user('{{think: hm}}{{say: hello}}{{usage: 10,20,5}}{{run: ls}}')];
    const answer = await ask(prompt, {}, '/v1beta/models/gemini-x:streamGenerateContent?alt=sse');
    const chunks = (await answer.text())
      .split('\n\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line.slice('data: '.length)) as { candidates: Json[] });

    expect(chunks.flatMap(({ candidates }) => candidates.map(({ content }) => (content as Json)['parts']))).toEqual([
      [{ text: 'hm', thought: true }],
      [{ text: 'hello' }],
      [
        {
          functionCall: {
            id: containing('call_offline_'),
            name: 'run_shell_command',
            args: containingKey('command', 'ls'),
          },
          thoughtSignature: containing(''),
        },
      ],
      [{ text: '' }],
    ]);
    expect(chunks.at(-1)).toMatchObject({
      candidates: [{ finishReason: 'STOP' }],
      usageMetadata: {
        promptTokenCount: 15,
        cachedContentTokenCount: 5,
        candidatesTokenCount: 20,
        totalTokenCount: 35,
      },
      modelVersion: 'gemini-x',
    });
  });

  test('goes on with the script after results, and when it is asked to continue', async () => {
    const call = { role: 'model', parts: [{ functionCall: { name: 'run_shell_command' } }] };
    const result = {
      role: 'user',
      parts: [{ functionResponse: { name: 'run_shell_command', response: { output: '{{say: x}}' } } }],
    };
    const history = [context, user('{{run: ls}}{{say: then}}{{run: pwd}}'), call, result];

    expect(await parts(await ask(history))).toMatchObject([{ text: 'then' }, { functionCall: {} }]);
    expect(await parts(await ask([...history, user('Please continue.')]))).toMatchObject([{ text: 'then' }, {}]);
    expect(await parts(await ask([...history, user('{{say: next}}')]))).toEqual([{ text: 'next' }]);
  });

  test.each([
    ['{{route: pro}}{{status: 500, once}}', 100],
    ['{{route: flash}}', 1],
    ['hello', 1],
  ])('routes as the script says: %s', async (prompt, score) => {
    const after = log.count;
    const schema = { type: 'OBJECT', properties: { complexity_score: { type: 'INTEGER' } } };
    const answer = await ask([context, user(prompt)], {
      tools: undefined,
      systemInstruction: { parts: [{ text: '\nYou are a specialized Task Routing AI. Your sole function' }] },
      generationConfig: { responseMimeType: 'application/json', responseJsonSchema: schema },
    });

    expect(JSON.parse(String((await parts(answer))[0]?.['text']))).toMatchObject({ complexity_score: score });
    expect(log.after(after)[0]).toMatchObject({ story: 'errand', errand: 'route' });
  });

  test('does any other errand that wants JSON as its schema says', async () => {
    const responseJsonSchema = {
      type: 'object',
      properties: {
        why: { type: 'string' },
        next: { type: 'string', enum: ['user', 'model'] },
        sure: { type: 'number' },
      },
      required: ['why', 'next', 'sure'],
    };
    const answer = await ask([user('{{status: 500}}')], { tools: undefined, generationConfig: { responseJsonSchema } });

    expect(await parts(answer)).toEqual([{ text: '{"why":"[offline model] scripted","next":"user","sure":0}' }]);
  });

  test('refuses what the provider would refuse, and says when to come back', async () => {
    const call = { role: 'model', parts: [{ functionCall: { name: 'run_shell_command' } }] };
    const told = async (answer: Response) => ((await answer.json()) as { error: Json }).error;

    expect(await told(await ask([]))).toEqual({
      code: 400,
      status: 'INVALID_ARGUMENT',
      message: containing('not specified'),
    });
    expect(await told(await ask('x'))).toMatchObject({ code: 400, message: containing('Invalid value') });
    expect(await told(await ask([user('x'), call, user('y')]))).toMatchObject({
      message: containing('number of function response'),
    });
    expect(await told(await ask([user('{{status: 429, retry-after 2}}')]))).toMatchObject({
      status: 'RESOURCE_EXHAUSTED',
      details: [{ retryDelay: '2s' }],
    });
  });

  test('counts tokens and lists models', async () => {
    const counted = await ask([user('hello')], {}, '/v1beta/models/gemini-x:countTokens');
    const listed = await fetch(`${url}/v1beta/models`);

    expect(await counted.json()).toEqual({ totalTokens: expect.any(Number) as unknown });
    expect(await listed.json()).toMatchObject({ models: [{ name: 'models/gemini-3.1-pro-preview' }, {}, {}] });
  });

  test('logs its key, whatever else comes with it, never the value', async () => {
    const after = log.count;
    const headers = { 'x-goog-api-key': 'secret-key', authorization: 'Bearer secret-token' };
    await fetch(`${url}/v1beta/models`, { headers });

    expect(log.after(after)[0]).toMatchObject({
      auth: 'both',
      credentials: { bearer: containing(''), 'x-goog-api-key': containing('') },
    });
    expect(JSON.stringify(log.after(after))).not.toContain('secret-');
  });
});

describe('Code Assist', () => {
  const request = (prompt: string): Json => ({ contents: [context, user(prompt)], tools, session_id: 'session-1' });
  const post = async (method: string, body: Json) =>
    (await fetch(`${url}/v1internal:${method}`, { method: 'POST', body: JSON.stringify(body) })).json();

  test('answers in its envelope, and knows the session', async () => {
    const after = log.count;
    const answer = await post('generateContent', { model: 'gemini-x', request: request('{{say: hello}}') });

    expect(answer).toMatchObject({
      response: { candidates: [{ content: { parts: [{ text: 'hello' }] }, finishReason: 'STOP' }] },
      traceId: containing('offline_'),
    });
    expect(log.after(after)[0]).toMatchObject({ wire: 'code-assist', session: 'session-1', model: 'gemini-x' });
  });

  test('answers for the account', async () => {
    expect(await post('loadCodeAssist', {})).toMatchObject({
      currentTier: {},
      cloudaicompanionProject: 'offline-model',
    });
    expect(await post('onboardUser', {})).toMatchObject({ done: true });
    expect(await post('retrieveUserQuota', {})).toMatchObject({ buckets: [{}] });
    expect(await post('listExperiments', {})).toMatchObject({ flags: [] });
    const counted = await post('countTokens', { request: { model: 'models/gemini-x', contents: [user('hello')] } });
    expect(counted).toEqual({ totalTokens: expect.any(Number) as unknown });
  });

  test('refuses a request without one', async () => {
    expect(await post('generateContent', { model: 'gemini-x' })).toMatchObject({
      error: { status: 'INVALID_ARGUMENT' },
    });
  });
});

function containingKey(key: string, value: string): unknown {
  return expect.objectContaining({ [key]: value });
}
