import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { userWords } from '../src/offline-model/clis.ts';
import type { Conversation, Item } from '../src/offline-model/conversation.ts';
import { hasDirectives, parseScript, stepAfter } from '../src/offline-model/script.ts';
import { tell } from '../src/offline-model/story.ts';

const entry = fileURLToPath(new URL('../src/offline-model/main.ts', import.meta.url));
const block = ['content_block_start', 'content_block_delta', 'content_block_stop'];
const bash = { name: 'Bash', input_schema: { type: 'object' } };

/** Matchers, typed as what they are to a reader of JSON. */
const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);
const containing = (text: string): unknown => expect.stringContaining(text);
const anyNumber: unknown = expect.any(Number);

describe('the script', () => {
  test('falls into steps that end with a tool call', () => {
    const steps = parseScript('do {{say: a}} and {{run: ls}}\n{{parallel: ["x","y"]}}{{usage: 1,2,3}}{{say: b}}');

    expect(steps).toEqual([
      {
        calls: 1,
        directives: [
          { do: 'say', text: 'a' },
          { do: 'run', command: 'ls' },
        ],
      },
      { calls: 2, directives: [{ do: 'parallel', commands: ['x', 'y'] }] },
      {
        calls: 0,
        directives: [
          { do: 'usage', input: 1, output: 2, cached: 3 },
          { do: 'say', text: 'b' },
        ],
      },
    ]);
    expect([0, 1, 2, 3, 9].map((calls) => stepAfter(steps, calls))).toEqual([0, 1, 1, 2, 2]);
    expect(stepAfter(parseScript('{{run: a}}{{run: b}}'), 2)).toBe(2);
  });

  test.each([
    ['{{run: echo ${HOME}}}', { do: 'run', command: 'echo ${HOME}' }],
    ['{{run: one\ntwo}}', { do: 'run', command: 'one\ntwo' }],
    ['{{tool: Write {"a":{"b":"}}\\"{"}}}} tail', { do: 'tool', name: 'Write', input: { a: { b: '}}"{' } } }],
    ['{{tool: Ping}}', { do: 'tool', name: 'Ping', input: {} }],
    ['{{tool: Agent {"prompt":"{{run: ls}}"}}}', { do: 'tool', name: 'Agent', input: { prompt: '{{run: ls}}' } }],
    ['{{think: hm}}', { do: 'think', text: 'hm' }],
    ['{{wait: 20}}', { do: 'wait', ms: 20 }],
    ['{{flood: 1000}}', { do: 'flood', bytes: 1000 }],
    ['{{usage: 5,6}}', { do: 'usage', input: 5, output: 6, cached: 0 }],
    ['{{status: 429}}', { do: 'status', status: 429, once: false }],
    ['{{status: 429, retry-after 2, once}}', { do: 'status', status: 429, retryAfter: '2', once: true }],
    ['{{status: 500 once}}', { do: 'status', status: 500, once: true }],
    ['{{cut}}', { do: 'cut', once: false }],
    ['{{early-end: once}}', { do: 'early-end', once: true }],
    ['{{say: héé 🎈}}', { do: 'say', text: 'héé 🎈' }],
  ])('reads %s', (text, directive) => {
    expect(parseScript(text)).toMatchObject([{ directives: [directive] }]);
  });

  test.each([
    ['{{sya: hello}}', 'there is no directive "sya"'],
    ['{{say: hello', 'closing braces'],
    ['{{say: }}', '{{say}}: it needs the text'],
    ['{{run}}', 'it needs a shell command'],
    ['{{wait: soon}}', 'whole number'],
    ['{{status: 200}}', 'a status from 400 to 599'],
    ['{{status: 429, retryafter 1}}', 'a status from 400 to 599'],
    ['{{cut: twice}}', 'it takes nothing, or "once"'],
    ['{{tool: Write {"a":}}}', 'JSON cannot be read'],
    ['{{tool: Write [1]}}', 'must be a JSON object'],
    ['{{parallel: ls}}', 'JSON cannot be read'],
    ['{{parallel: [1]}}', 'array of shell commands'],
    ['{{flood: 99999999999}}', 'whole number'],
  ])('says what is wrong with %s', (text, message) => {
    expect(() => parseScript(text)).toThrow(message);
  });

  test('leaves other braces alone', () => {
    expect(['{{ user.name }}', '{{Name}}', '{say: x}', '{{}}'].some(hasDirectives)).toBe(false);
  });
});

describe('the story', () => {
  const user = (text: string): Item => ({ type: 'text', role: 'user', text });
  const call: Item = { type: 'call', name: 'Bash' };
  const result: Item = { type: 'result', text: '{{say: not a prompt}}', isError: false };
  const conversation = (...items: Item[]): Conversation => ({
    model: 'm',
    stream: true,
    session: 's',
    messages: items.length,
    items,
    tools: ['Bash'],
    inputTokens: 7,
  });
  const firstTexts = (told: ReturnType<typeof tell>) =>
    told.answer.type === 'reply'
      ? told.answer.pieces.map((piece) => ('text' in piece ? piece.text : piece.type))
      : told.answer;
  const never = () => false;

  test('goes on where the history stands, whatever the CLI adds to it', () => {
    const script = user('{{say: one}}{{run: ls}}{{say: two}}');
    const reminder = user('<system-reminder>{{status: 500}}</system-reminder>');
    const goOn = user('Your response above was cut off mid-stream. Resume directly from where it stops.');

    expect(firstTexts(tell(conversation(reminder, script), never))).toEqual(['one', 'call']);
    expect(
      firstTexts(tell(conversation(script, reminder, user('[Request interrupted by user]'), goOn), never)),
    ).toEqual(['one', 'call']);
    expect(firstTexts(tell(conversation(reminder, script, call, result, reminder), never))).toEqual(['two']);
  });

  test('a later prompt starts its own script, one without directives the default story', () => {
    const first = [user('{{status: 401}}'), user('{{say: one}}{{run: ls}}'), call, result];
    const plain = tell(conversation(...first, user('go on')), never);

    expect(firstTexts(tell(conversation(...first, user('{{say: other}}')), never))).toEqual(['other']);
    expect(plain).toMatchObject({ story: 'default', step: 1, steps: 2 });
    expect(tell(conversation(...first), never)).toMatchObject({ step: 2, steps: 1 });
  });

  test('asks once per session and step whether a failure is the first', () => {
    const keys: string[] = [];
    const isFirst = (key: string): boolean => keys.push(key) > 0;
    tell(conversation(user('{{drop: once}}{{hang: once}}')), isFirst);
    tell({ ...conversation(user('{{drop: once}}')), session: 'other' }, isFirst);

    expect(new Set(keys).size).toBe(2);
    expect(firstTexts(tell(conversation(user('{{drop: once}}{{say: well}}')), never))).toEqual(['well']);
  });

  test('does the errands of a CLI without following the prompt that they quote', () => {
    const told = tell(conversation(user('<session>\n{{hang}}\n</session>')), never);

    expect([told.story, firstTexts(told)]).toEqual(['errand', ['{"title":"[offline model] scripted"}']]);
  });

  test('names an error in the script instead of guessing', () => {
    const told = tell({ ...conversation(user('{{run: ls}}')), tools: ['Read'] }, never);

    expect(told.story).toBe('malformed');
    expect(firstTexts(told)).toEqual([expect.stringContaining('a shell tool is not among the tools offered (Read)')]);
  });

  test('knows what a user wrote from what a CLI adds', () => {
    expect(userWords('<system-reminder>\nx\n</system-reminder>\nhello')).toBe('hello');
    expect(userWords('<system-reminder>x</system-reminder>')).toBe('');
    expect(userWords('[Request interrupted by user for tool use]')).toBe('');
  });
});

describe('the process', () => {
  let dir: string;
  let model: Running;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'offline-model-'));
    model = await start(dir, '--log', join(dir, 'log.jsonl'));
  });

  afterAll(async () => {
    await model.stop('SIGTERM');
    await rm(dir, { recursive: true, force: true });
  });

  test('says where it is and what it is', async () => {
    const file = join(dir, 'offline-model.json');
    const presence = JSON.parse(await readFile(file, 'utf8')) as unknown;

    expect(presence).toEqual({
      pid: model.child.pid,
      startTime: process.platform === 'linux' ? matching(/^\d+$/) : null,
      port: anyNumber,
      url: model.url,
      version: 1,
    });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await (await fetch(model.url)).text()).toContain('scripted provider');
    expect(await (await fetch(`${model.url}/_health`)).json()).toMatchObject({ ok: true, scripted: true });
    expect((await fetch(`${model.url}/api/hello`, { method: 'HEAD' })).status).toBe(200);
    const listed = (headers = {}) => fetch(`${model.url}/v1/models`, { headers }).then((answer) => answer.json());
    expect(await listed({ 'anthropic-version': '2023-06-01' })).toMatchObject({ data: [{ type: 'model' }, {}, {}] });
    expect(await listed()).toMatchObject({ object: 'list', data: [{ object: 'model' }, {}] });
    expect(await (await ask('x', {}, '/v1/messages/count_tokens')).json()).toEqual({
      input_tokens: anyNumber,
    });
  });

  test('streams text, thinking and a tool call as the provider does', async () => {
    const events = await readEvents(
      await ask('{{think: hm}}{{say: Grüße 🎈 an alle, die dies lesen}}{{usage: 10,20,5}}{{run: ls}}'),
    );

    expect(events.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1])).toEqual([
      'message_start',
      'ping',
      ...block,
      ...block,
      ...block,
      'message_delta',
      'message_stop',
    ]);
    const deltas = events.flatMap(({ delta }) => (delta ? [delta] : []));
    expect(deltas.map(({ text }) => text ?? '').join('')).toBe('Grüße 🎈 an alle, die dies lesen');
    expect(JSON.parse(deltas.map(({ partial_json }) => partial_json ?? '').join(''))).toMatchObject({ command: 'ls' });
    expect(events.at(-2)).toEqual({
      type: 'message_delta',
      delta: { stop_reason: 'tool_use', stop_sequence: null },
      usage: { input_tokens: 10, cache_creation_input_tokens: 0, cache_read_input_tokens: 5, output_tokens: 20 },
    });
  });

  test('answers a request without stream with the whole message, and a repeated one alike', async () => {
    const answers = [await ask('hello', { stream: false }), await ask('hello', { stream: false })];
    const [first, second] = (await Promise.all(answers.map((answer) => answer.json()))) as Message[];

    expect(first).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: 'claude-sonnet-4-6',
      stop_reason: 'tool_use',
      content: [
        { type: 'text', text: matching(/^\[offline model\].*no model was asked/) },
        { type: 'tool_use', name: 'Bash', input: { command: containing('hello.txt') } },
      ],
    });
    expect(second?.content).toEqual(first?.content);
  });

  test.each([
    [400, 'invalid_request_error'],
    [401, 'authentication_error'],
    [402, 'billing_error'],
    [403, 'permission_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [529, 'overloaded_error'],
  ])('fails with status %i in the shape of the provider', async (status, type) => {
    const answer = await ask(`{{status: ${status}, retry-after 3}}`);

    expect([answer.status, answer.headers.get('retry-after')]).toEqual([status, '3']);
    expect(await answer.json()).toEqual({
      type: 'error',
      error: { type, message: containing('[offline model]') },
      request_id: answer.headers.get('request-id'),
    });
  });

  test('refuses what the provider would refuse', async () => {
    const post = (body: string, headers = {}) => fetch(`${model.url}/v1/messages`, { method: 'POST', body, headers });
    const told = async (answer: Response) => [answer.status, ((await answer.json()) as Message).error?.message];

    expect(await told(await ask('x', { model: 'no-such-model' }))).toEqual([404, 'model: no-such-model']);
    expect(await told(await post('{"model":'))).toEqual([400, expect.stringContaining('not valid JSON')]);
    expect(await told(await post('[]'))).toEqual([400, expect.stringContaining('not an object')]);
    expect(await told(await post('{"model":"m"}'))).toEqual([400, 'messages: Field required']);
    expect(await told(await post('{"model":"m","messages":[{"role":"user"}]}'))).toEqual([
      400,
      'messages.0.content: Field required',
    ]);
    expect(await told(await fetch(`${model.url}/v2/else`))).toEqual([404, expect.stringContaining('/v2/else')]);
    expect(await told(await post(' '.repeat(65 * 1024 * 1024)))).toEqual([
      413,
      expect.stringContaining('maximum size'),
    ]);
    expect(await statusForHost(model.url, 'evil.example')).toContain(' 403 ');
  });

  test('breaks off in each of the ways a provider does, and logs how', async () => {
    const from = await lastLine();
    await expect(ask('{{drop}}')).rejects.toThrow('fetch failed');
    await expect(readText(await ask('{{say: part}}{{cut}}'))).rejects.toThrow('terminated');
    await expect((await ask('{{cut}}', { stream: false })).text()).rejects.toThrow('terminated');
    const early = await readEvents(await ask('{{early-end}}'));
    const closed = await readEvents(await ask('{{say: part}}{{early-end}}'));

    expect(early.at(-1)?.type).toBe('content_block_delta');
    expect(closed.at(-1)?.type).toBe('content_block_stop');
    expect(await ends(from, 5)).toEqual(['dropped', 'cut', 'cut', 'early_end', 'early_end']);
  });

  test('says nothing more, and notices that the client goes', async () => {
    const from = await lastLine();
    const hanging = new AbortController();
    const hung = ask('{{hang}}', {}, undefined, hanging.signal);
    await logged(from, ({ answer }) => answer === 'hang');
    hanging.abort();
    await expect(hung).rejects.toThrow('aborted');

    const stalling = new AbortController();
    const stalled = read(await ask('{{say: part}}{{stall}}', {}, undefined, stalling.signal));
    expect(new TextDecoder().decode((await stalled.next()).value as Uint8Array)).toContain('message_start');
    stalling.abort();

    expect(await ends(from, 2)).toEqual(['client_closed', 'client_closed']);
  });

  test('fails once when asked to, then goes on', async () => {
    const headers = { 'x-claude-code-session-id': 'session-1' };
    const prompt = '{{status: 500, once}}{{drop: once}}{{say: well}}';
    const first = await ask(prompt, {}, undefined, undefined, headers);

    expect(first.status).toBe(500);
    await expect(ask(prompt, {}, undefined, undefined, headers)).rejects.toThrow('fetch failed');
    expect(await readText(await ask(prompt, {}, undefined, undefined, headers))).toContain('well');
    expect((await ask(prompt, {}, undefined, undefined, { 'x-claude-code-session-id': 'session-2' })).status).toBe(500);
  });

  test('floods no faster than it is read', async () => {
    const bytes = 32 * 1024 * 1024;
    const from = await lastLine();
    const parts = read(await ask(`{{flood: ${bytes}}}`));
    await parts.next();
    expect((await lines(from)).some((line) => 'end' in line)).toBe(false);

    let size = 0;
    for await (const part of parts) size += part.length;
    expect(size).toBeGreaterThan(bytes);
    expect(await ends(from, 1)).toEqual(['finished']);
  });

  test('logs what it saw without the credentials', async () => {
    const from = await lastLine();
    const headers = {
      authorization: 'Bearer secret-token',
      'x-api-key': 'secret-key',
      'x-claude-code-session-id': 'session-3',
    };
    await readText(await ask('{{say: hi}}', {}, undefined, undefined, headers));
    await ends(from, 1);

    const [first, second] = await lines(from);
    expect(first).toMatchObject({
      method: 'POST',
      path: '/v1/messages',
      wire: 'anthropic',
      auth: 'both',
      credentials: {
        bearer: matching(/^[0-9a-f]{12}$/),
        'x-api-key': matching(/^[0-9a-f]{12}$/),
      },
      session: 'session-3',
      model: 'claude-sonnet-4-6',
      stream: true,
      messages: 1,
      tools: ['Bash'],
      lastUserText: '{{say: hi}}',
      digest: matching(/^[0-9a-f]{16}$/),
      step: 1,
      steps: 1,
    });
    expect(second).toMatchObject({ id: first?.id, end: 'finished' });
    const file = await readFile(join(dir, 'log.jsonl'), 'utf8');
    expect(file).toContain(JSON.stringify(first));
    expect(file).not.toContain('secret-');
  });

  test('leaves when nobody has asked for long', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'offline-model-'));
    try {
      const { child } = await start(dir, '--idle-exit-ms', '1');
      expect(await once(child, 'exit')).toEqual([0, null]);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  });

  test('comes back on the same port, alone, and leaves with its directory', async () => {
    const own = await mkdtemp(join(tmpdir(), 'offline-model-'));
    try {
      const first = await start(own);
      first.child.kill('SIGHUP');
      first.child.kill('SIGINT');
      const beside = await start(own);
      expect(beside.line).toContain(`already running at ${first.url}`);
      expect(await once(beside.child, 'exit')).toEqual([0, null]);
      expect((await fetch(first.url)).status).toBe(200);

      expect(await first.stop('SIGTERM')).toEqual([0, null]);
      const second = await start(own);
      expect(second.url).toBe(first.url);

      const left = once(second.child, 'exit');
      await rm(own, { recursive: true });
      expect(await left).toEqual([0, null]);
    } finally {
      await rm(own, { recursive: true, force: true });
    }
  });

  test('refuses wrong arguments', async () => {
    for (const args of [[], ['--dir', dir, '--port', 'x'], ['--dir', join(dir, 'missing')]]) {
      const child = spawn(process.execPath, [entry, ...args], { stdio: 'ignore' });
      expect(await once(child, 'exit')).toEqual([1, null]);
    }
  });

  async function ask(
    prompt: string,
    fields = {},
    path = '/v1/messages?beta=true',
    signal?: AbortSignal,
    headers = {},
  ): Promise<Response> {
    const messages = [{ role: 'user', content: [{ type: 'text', text: prompt }] }];
    const body = JSON.stringify({
      model: 'claude-sonnet-4-6',
      max_tokens: 100,
      stream: true,
      tools: [bash],
      messages,
      ...fields,
    });
    return fetch(`${model.url}${path}`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
      ...(signal && { signal }),
    });
  }

  async function lines(after: number): Promise<LogLine[]> {
    return (await (await fetch(`${model.url}/_log?after=${after}`)).json()) as LogLine[];
  }

  async function lastLine(): Promise<number> {
    return (await lines(0)).at(-1)?.n ?? 0;
  }

  async function logged(after: number, matches: (line: LogLine) => boolean, count = 1): Promise<LogLine[]> {
    for (;;) {
      const found = (await lines(after)).filter(matches);
      if (found.length >= count) return found;
    }
  }

  async function ends(after: number, count: number): Promise<unknown[]> {
    return (await logged(after, (line) => 'end' in line, count)).map(({ end }) => end);
  }
});

interface LogLine {
  readonly n: number;
  readonly id?: string;
  readonly end?: string;
  readonly answer?: string;
}

interface Message {
  readonly content?: unknown;
  readonly error?: { readonly message: string };
}

interface StreamEvent {
  readonly type: string;
  readonly delta?: { readonly text?: string; readonly partial_json?: string };
}

interface Running {
  readonly child: ChildProcess;
  readonly line: string;
  readonly url: string;
  stop(signal: NodeJS.Signals): Promise<unknown[]>;
}

/** Started, and ready: it has said its first line. */
async function start(dir: string, ...args: string[]): Promise<Running> {
  const child = spawn(process.execPath, [entry, '--dir', dir, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  const line = chunk.toString();
  const url = /http:\/\/[\d.:]+/.exec(line)?.[0] ?? '';
  return {
    child,
    line,
    url,
    stop: async (signal) => {
      const exit = once(child, 'exit');
      child.kill(signal);
      return exit;
    },
  };
}

async function* read(answer: Response): AsyncGenerator<Uint8Array> {
  for await (const part of answer.body ?? []) yield part as Uint8Array;
}

async function readText(answer: Response): Promise<string> {
  return answer.text();
}

async function readEvents(answer: Response): Promise<StreamEvent[]> {
  const blocks = (await answer.text()).split('\n\n').filter((block) => block !== '');
  return blocks.map((block) => {
    const [name, data] = block.split('\n');
    const event = JSON.parse(data?.replace('data: ', '') ?? '') as StreamEvent;
    expect(name).toBe(`event: ${event.type}`);
    return event;
  });
}

/** The status line for a request that names another host, as a rebound web page would. */
async function statusForHost(url: string, host: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.end(`GET /_log HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  return chunk.toString().split('\r\n')[0] ?? '';
}
