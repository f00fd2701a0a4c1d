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
const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);

async function post(path: string, body: Json): Promise<Response> {
  return fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify({ model: 'gpt-5.4', ...body }) });
}

/** The data of each event of a stream. */
async function events(answer: Response): Promise<Json[]> {
  const lines = (await answer.text()).split('\n').filter((line) => line.startsWith('data: {'));
  return lines.map((line) => JSON.parse(line.slice(6)) as Json);
}

async function refusal(answer: Response): Promise<unknown> {
  return [answer.status, ((await answer.json()) as { error: Json }).error['message']];
}

describe('OpenAI Responses', () => {
  const shell = { type: 'function', name: 'exec_command' };
  const exec = { type: 'namespace', name: 'functions', tools: [{ type: 'custom', name: 'exec' }] };
  const user = (text: string): Json => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });
  const ask = (input: unknown, fields: Json = {}) => post('/v1/responses', { input, tools: [shell], ...fields });
  const output = async (answer: Response) => ((await answer.json()) as { output: Json[] }).output;

  test('tells each item with its beginning, its parts and its end', async () => {
    const told = await events(
      await ask([user('{{think: hm}}{{say: hello}}{{usage: 10,20,5}}{{run: ls}}')], { stream: true }),
    );

    expect(told.map(({ type }) => type)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.reasoning_summary_part.added',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.done',
      'response.reasoning_summary_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(told.map((event) => event['sequence_number'])).toEqual(told.map((_, index) => index));
    expect(told.at(-1)?.['response']).toMatchObject({
      status: 'completed',
      output: [
        { type: 'reasoning', summary: [{ text: 'hm' }] },
        { type: 'message', content: [{ type: 'output_text', text: 'hello' }] },
        { type: 'function_call', name: 'exec_command', arguments: '{"cmd":"ls","yield_time_ms":30000}' },
      ],
      usage: { input_tokens: 15, input_tokens_details: { cached_tokens: 5 }, output_tokens: 20, total_tokens: 35 },
    });
  });

  test('writes JavaScript where that is how tools are called', async () => {
    const offered = [{ type: 'additional_tools', tools: [exec] }];
    const answer = await ask([...offered, user('{{run: ls}}')], { tools: undefined });
    const mcp = await ask([...offered, user('{{tool: mcp:harnessd/computer_info {"a":1}}}')], { tools: undefined });

    expect(await output(answer)).toMatchObject([
      {
        type: 'custom_tool_call',
        namespace: 'functions',
        name: 'exec',
        input: containing('tools.exec_command({"cmd":"ls"'),
      },
    ]);
    expect(await output(mcp)).toMatchObject([{ input: containing('tools.mcp__harnessd__computer_info({"a":1})') }]);
  });

  test('calls an MCP tool that is kept back until it is searched for', async () => {
    const tools = [{ type: 'tool_search' }];

    expect(await output(await ask('{{tool: mcp:harnessd/computer_info {"a":1}}}', { tools }))).toMatchObject([
      { type: 'function_call', namespace: 'mcp__harnessd', name: 'computer_info', arguments: '{"a":1}' },
    ]);
  });

  test('finds the prompt among what codex says in its place, and goes on where it stands', async () => {
    const context = user('<environment_context>\n{{say: not this}}\n</environment_context>');
    const call = { type: 'function_call', name: 'exec_command', call_id: 'c', arguments: '{}' };
    const result = { type: 'function_call_output', call_id: 'c', output: '{{say: nor this}}' };
    const history = [context, user('{{run: ls}}{{say: first}}'), call, result];

    expect(await output(await ask(history))).toMatchObject([{ content: [{ text: 'first' }] }]);
    expect(await output(await ask([...history, user('{{say: a}}{{run: ls}}{{say: b}}')]))).toMatchObject([
      { content: [{ text: 'a' }] },
      { type: 'function_call' },
    ]);
  });

  test('waits for a command that goes on, without moving the script', async () => {
    const first = { type: 'function_call', name: 'exec_command', call_id: 'c', arguments: '{}' };
    const running = 'Chunk ID: 1\nWall time: 30 seconds\nProcess running with session ID 7\nOutput:\n';
    const history = [user('{{run: make}}{{run: ls}}'), first, { ...result('c'), output: running }];
    const [wait] = await output(await ask(history, { tools: [shell, { type: 'function', name: 'write_stdin' }] }));

    expect(wait).toMatchObject({ name: 'write_stdin', arguments: containing('"session_id":7') });
    expect(await output(await ask([...history, wait, result(String(wait?.['call_id']))]))).toMatchObject([
      { name: 'exec_command', arguments: containing('ls') },
    ]);
  });

  test('sums nothing up when codex asks for it, and ends the script that was summed up', async () => {
    const after = log.count;
    await ask([user('{{hang}}'), user('You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary')]);
    await ask([user('{{hang}}'), user('Another language model started to solve this problem and produced a summary')]);
    await ask([{ role: 'developer', content: 'You are a title generator.' }, user('{{hang}}')]);

    expect(log.after(after).flatMap(({ errand }) => errand ?? [])).toEqual(['summary', 'summarized', 'title']);
  });

  test('refuses what the provider would refuse', async () => {
    const call = { type: 'function_call', name: 'exec_command', call_id: 'c', arguments: '{}' };

    expect(await refusal(await post('/v1/responses', {}))).toEqual([400, "Missing required parameter: 'input'."]);
    expect(await refusal(await ask(1))).toEqual([400, containing('expected one of a string or array')]);
    expect(await refusal(await ask('x', { model: undefined }))).toEqual([400, containing('a model parameter')]);
    expect(await refusal(await ask([user('x'), result('c')]))).toEqual([
      400,
      'No tool call found for function call output with call_id c.',
    ]);
    expect(await refusal(await ask([user('x'), call]))).toEqual([400, 'No tool output found for function call c.']);
    expect(await refusal(await ask('x', { previous_response_id: 'r' }))).toEqual([400, containing('not found')]);
  });

  const result = (id: string): Json => ({ type: 'function_call_output', call_id: id, output: 'done' });
});

describe('OpenAI Chat Completions', () => {
  const bash = { type: 'function', function: { name: 'bash' } };
  const user = (content: string): Json => ({ role: 'user', content });
  const ask = (messages: unknown, fields: Json = {}) =>
    post('/v1/chat/completions', { messages, tools: [bash], ...fields });

  test('tells a message in chunks, the usage only where it is asked for', async () => {
    const prompt = [user('{{think: hm}}{{say: hello}}{{usage: 10,20,5}}{{run: ls}}')];
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await events(await ask(prompt, options));
    const choices = chunks.flatMap((chunk) => chunk['choices'] as { delta: Json; finish_reason: unknown }[]);

    expect(choices.map(({ delta }) => delta)).toEqual([
      { role: 'assistant', content: '' },
      { reasoning_content: 'hm' },
      { content: 'hello' },
      {
        tool_calls: [
          {
            index: 0,
            id: matching(/^call_offline_/),
            type: 'function',
            function: { name: 'bash', arguments: '{"command":"ls"}' },
          },
        ],
      },
      {},
    ]);
    expect(choices.map((choice) => choice.finish_reason)).toEqual([null, null, null, null, 'tool_calls']);
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: {
        prompt_tokens: 15,
        completion_tokens: 20,
        total_tokens: 35,
        prompt_tokens_details: { cached_tokens: 5 },
      },
    });
    expect((await events(await ask(prompt, { stream: true }))).some((chunk) => 'usage' in chunk)).toBe(false);
  });

  test('gives a title without following the prompt, or spending its failure', async () => {
    const title = [{ role: 'system', content: 'You are a title generator. You output ONLY a title.' }];
    const prompt = '{{status: 500, once}}{{say: well}}';
    const after = log.count;
    const answer = await ask([...title, user('Generate a title for this conversation:\n'), user(prompt)], {
      tools: [],
    });

    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: '[offline model] scripted' } }] });
    expect(log.after(after)[0]).toMatchObject({ story: 'errand', errand: 'title' });
    expect((await ask([user(prompt)])).status).toBe(500);
  });

  test('refuses what the provider would refuse', async () => {
    const call = { role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: { name: 'bash' } }] };
    const result = { role: 'tool', tool_call_id: 'c', content: 'done' };

    expect((await ask([user('{{run: ls}}{{say: b}}'), call, result])).status).toBe(200);
    expect(await refusal(await ask('x'))).toEqual([400, containing("Invalid type for 'messages'")]);
    expect(await refusal(await ask([]))).toEqual([400, containing('empty array')]);
    expect(await refusal(await ask([{ role: 'robot', content: 'x' }]))).toEqual([
      400,
      containing("Invalid value: 'robot'"),
    ]);
    expect(await refusal(await ask([{ role: 'user' }]))).toEqual([400, containing("Invalid value for 'content'")]);
    expect(await refusal(await ask([user('x'), result]))).toEqual([
      400,
      containing("with role 'tool' must be a response"),
    ]);
    expect(await refusal(await ask([user('x'), call]))).toEqual([400, containing('did not have response messages: c')]);
  });
});

test('lists models as OpenAI does, except to those who ask as Anthropic is asked', async () => {
  const listed = async (headers: Record<string, string>) => (await fetch(`${url}/v1/models`, { headers })).json();

  expect(await listed({ authorization: 'Bearer x' })).toMatchObject({ object: 'list', data: [{ id: 'gpt-5.4' }, {}] });
  expect(await listed({ 'x-api-key': 'x' })).toMatchObject({ has_more: false });
  expect(await (await fetch(`${url}/v1/models/any`)).json()).toMatchObject({ id: 'any', object: 'model' });
});
