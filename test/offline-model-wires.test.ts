/** What every wire of the offline model promises alike, whatever its shapes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RequestLog } from '../src/offline-model/request-log.ts';
import { OfflineModel } from '../src/offline-model/server.ts';

interface Case {
  readonly path: string;
  readonly whole?: string;
  readonly headers?: Record<string, string>;
  /** The shell tool, the MCP tool, and both as the wire declares tools. */
  readonly tools: readonly [shell: string, mcp: string];
  body(prompt: string, stream: boolean): unknown;
  /** The error's kind in the provider's own word. */
  readonly kinds: Readonly<Record<number, string>>;
  errorKind(error: Record<string, unknown>): unknown;
  /** What closes a stream. */
  readonly closing: string;
}

const contents = (prompt: string) => [{ role: 'user', parts: [{ text: prompt }] }];
const functions = (names: readonly string[]) => [{ functionDeclarations: names.map((name) => ({ name })) }];
const googleKinds = { 400: 'INVALID_ARGUMENT', 402: 'FAILED_PRECONDITION', 429: 'RESOURCE_EXHAUSTED', 500: 'INTERNAL' };
const openaiKinds = { 400: 'invalid_request_error', 402: 'insufficient_quota', 429: 'requests', 500: 'server_error' };
const geminiTools = ['run_shell_command', 'mcp_computer_computer_info'] as const;

const wires: Readonly<Record<string, Case>> = {
  anthropic: {
    path: '/v1/messages',
    tools: ['Bash', 'mcp__computer__computer_info'],
    body: (prompt, stream) => ({
      model: 'm',
      stream,
      tools: [{ name: 'Bash' }, { name: 'mcp__computer__computer_info' }],
      messages: [{ role: 'user', content: prompt }],
    }),
    kinds: { 400: 'invalid_request_error', 402: 'billing_error', 429: 'rate_limit_error', 500: 'api_error' },
    errorKind: ({ type }) => type,
    closing: 'message_stop',
  },
  'openai-responses': {
    path: '/v1/responses',
    tools: ['exec_command', 'computer_info'],
    body: (prompt, stream) => ({
      model: 'm',
      stream,
      tools: [
        { type: 'function', name: 'exec_command' },
        { type: 'namespace', name: 'mcp__computer', tools: [{ type: 'function', name: 'computer_info' }] },
      ],
      input: [{ role: 'user', content: [{ type: 'input_text', text: prompt }] }],
    }),
    kinds: openaiKinds,
    errorKind: ({ type }) => type,
    closing: 'response.completed',
  },
  'openai-chat': {
    path: '/v1/chat/completions',
    tools: ['bash', 'computer_computer_info'],
    body: (prompt, stream) => ({
      model: 'm',
      stream,
      tools: ['bash', 'computer_computer_info'].map((name) => ({ type: 'function', function: { name } })),
      messages: [{ role: 'user', content: prompt }],
    }),
    kinds: openaiKinds,
    errorKind: ({ type }) => type,
    closing: '[DONE]',
  },
  gemini: {
    path: '/v1beta/models/m:streamGenerateContent?alt=sse',
    whole: '/v1beta/models/m:generateContent',
    tools: geminiTools,
    body: (prompt) => ({ contents: contents(prompt), tools: functions(geminiTools) }),
    kinds: googleKinds,
    errorKind: ({ status }) => status,
    closing: '"finishReason":"STOP"',
  },
  'code-assist': {
    path: '/v1internal:streamGenerateContent?alt=sse',
    whole: '/v1internal:generateContent',
    tools: geminiTools,
    body: (prompt) => ({ model: 'm', request: { contents: contents(prompt), tools: functions(geminiTools) } }),
    kinds: googleKinds,
    errorKind: ({ status }) => status,
    closing: '"finishReason":"STOP"',
  },
};

describe.each(Object.entries(wires))('the wire %s', (name, wire) => {
  const log = new RequestLog();
  const model = new OfflineModel(log);
  let url: string;

  beforeAll(async () => {
    url = `http://127.0.0.1:${await model.listen(0)}`;
  });

  afterAll(() => model[Symbol.asyncDispose]());

  const ask = (prompt: string, { stream = true, session = '', signal }: Options = {}) =>
    fetch(`${url}${stream ? wire.path : (wire.whole ?? wire.path)}`, {
      method: 'POST',
      body: JSON.stringify(wire.body(prompt, stream)),
      headers: { 'content-type': 'application/json', ...(session && { 'x-session-id': session }) },
      ...(signal && { signal }),
    });
  const read = async (prompt: string, options?: Options) => (await ask(prompt, options)).text();

  test.each(Object.entries(wire.kinds))('says status %s in the words of its provider', async (status, kind) => {
    const answer = await ask(`{{status: ${status}, retry-after 3}}`);
    const { error } = (await answer.json()) as { error: Record<string, unknown> };

    expect([answer.status, answer.headers.get('retry-after'), wire.errorKind(error), error['message']]).toEqual([
      Number(status),
      '3',
      kind,
      `[offline model] the script asks for status ${status}`,
    ]);
  });

  test('answers alike each time, streamed and whole, and closes its stream', async () => {
    const prompt = '{{think: hm}}{{say: Grüße 🎈}}{{parallel: ["ls", "pwd"]}}';
    const idsIn = (text: string) => [...new Set(text.match(/offline_[0-9a-f]{20}(?=")/g))];
    const [first, second, whole] = [await read(prompt), await read(prompt), await read(prompt, { stream: false })];

    for (const word of ['hm', 'Grüße 🎈', wire.tools[0], wire.closing]) expect(first).toContain(word);
    for (const word of ['hm', 'Grüße 🎈', wire.tools[0]]) expect(whole).toContain(word);
    expect(idsIn(first).filter((id) => idsIn(second).includes(id))).toHaveLength(2);
  });

  test('breaks off in each of the ways a provider does', async () => {
    await expect(ask('{{drop}}')).rejects.toThrow('fetch failed');
    await expect(read('{{say: part}}{{cut}}')).rejects.toThrow('terminated');
    await expect(read('{{cut}}', { stream: false })).rejects.toThrow('terminated');
    const early = await read('{{say: part}}{{early-end}}');

    expect(early).toContain('part');
    expect(early).not.toContain(wire.closing);
  });

  test('says nothing more until the client goes', async () => {
    await expect(ask('{{hang}}', { signal: AbortSignal.timeout(50) })).rejects.toThrow('timeout');
    const stalled = await ask('{{say: part}}{{stall}}', { signal: AbortSignal.timeout(200) });
    await expect(stalled.text()).rejects.toThrow('timeout');
  });

  test('fails once in a session, told by its id or by how it began', async () => {
    const statuses = async (prompt: string, session?: string) => [
      (await ask(prompt, { ...(session && { session }) })).status,
      (await ask(prompt, { ...(session && { session }) })).status,
    ];

    expect(await statuses('{{status: 500, once}}{{say: well}}', 'a')).toEqual([500, 200]);
    expect(await statuses('{{status: 500, once}}{{say: well}}', 'b')).toEqual([500, 200]);
    expect(await statuses('another: {{status: 500, once}}{{say: well}}')).toEqual([500, 200]);
  });

  test('calls an MCP tool by the name that it has there', async () => {
    const text = await read('{{tool: mcp:computer/computer_info {"what":"memory"}}}', { stream: false });

    expect(text).toContain(`"name":"${wire.tools[1]}"`);
    expect(text.replaceAll('\\', '')).toContain('{"what":"memory"}');
    expect(await read('{{tool: mcp:elsewhere/computer_info}}')).toContain('cannot follow');
  });

  test('refuses a model that there is not, and a request that makes no sense', async () => {
    const post = (body: string, path = wire.path) => fetch(`${url}${path}`, { method: 'POST', body });
    const body = JSON.stringify(wire.body('hello', false)).replace('"m"', '"no-such-model"');

    expect((await post(body, (wire.whole ?? wire.path).replace('/m:', '/no-such-model:'))).status).toBe(404);
    expect((await post('{"model":')).status).toBe(400);
    expect((await post('{"model":"m"}')).status).toBe(400);
  });

  test('logs which wire was asked for what', async () => {
    const after = log.count;
    await read('{{say: hi}}', { session: 's' });

    const [tools] = [log.after(after)[0]?.['tools'] as string[]];
    expect(log.after(after)[0]).toMatchObject({ wire: name, model: 'm', session: 's', story: 'script', stream: true });
    expect(tools.map((each) => each.split('/').at(-1))).toEqual(wire.tools);
  });
});

interface Options {
  readonly stream?: boolean;
  readonly session?: string;
  readonly signal?: AbortSignal;
}
