import { writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Progress } from '@modelcontextprotocol/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type DaemonOptions, type TestDaemon } from './support/daemon.ts';
import { http } from './support/peer.ts';
import { calls, connectMcp, jsonRpc, lines, newPath, post, startTurn, toolCall, withTools } from './support/tools.ts';

const options: DaemonOptions = {
  ...withTools,
  flags: { ...withTools.flags, 'tools-request-bytes': 10_000, 'tools-calls-per-turn': 2 },
};

const refusal = expect.stringMatching(
  /^\{"jsonrpc":"2.0","id":null,"error":\{"code":-\d+,"message":".+"\}\}$/,
) as string;

describe('the tools over MCP', () => {
  let daemon: TestDaemon;
  beforeAll(async () => (daemon = await startDaemon(options)));
  afterAll(() => daemon[Symbol.asyncDispose]());

  test.for(['legacy', 'auto'] as const)(
    '[P8.1] are the very same that peers have: listed, called, answered and refused (%s client)',
    async (mode) => {
      const turn = await startTurn(daemon);
      const client = await connectMcp(turn, mode);
      const { tools } = await client.listTools();
      const peers = await (await daemon.client()).call('tool.list', {});
      expect(
        tools.map(({ name, description, inputSchema, outputSchema }) => [name, description, inputSchema, outputSchema]),
      ).toEqual(peers.tools.map((tool) => [tool.name, tool.summary, tool.inputSchema, tool.outputSchema]));
      const path = newPath(daemon);
      const told: Progress[] = [];
      const noted = await client.callTool(
        { name: 'test_note', arguments: { path, line: 'a' }, _meta: { 'claudecode/toolUseId': 'toolu_1' } },
        { onprogress: (progress) => told.push(progress) },
      );
      const output = { workspace: turn.workspace };
      expect(noted).toMatchObject({
        content: [{ type: 'text', text: JSON.stringify(output) }],
        structuredContent: output,
      });
      expect(told).toEqual([{ progress: 1, message: 'noted a' }]);
      expect(await client.callTool({ name: 'test_echo', arguments: { text: 1 } })).toMatchObject({
        isError: true,
        content: [{ type: 'text', text: expect.stringMatching(/^invalid_params: test_echo: text: /) as string }],
      });
      await expect(client.callTool({ name: 'no_such_tool' })).rejects.toThrow(/no tool "no_such_tool"/);
      await client.close();
      const events = await turn.end();
      const called = events.find(({ type }) => type === 'tool.called')!;
      expect([called.turnId, called.data]).toEqual([
        turn.turnId,
        {
          callId: expect.any(String) as string,
          name: 'test_note',
          input: { path, line: 'a' },
          kind: 'edit',
          via: 'mcp',
          parentCallId: 'toolu_1',
        },
      ]);
      expect(events.find(({ type }) => type === 'tool.output')!.data).toEqual({
        callId: called.data['callId'],
        text: 'noted a',
      });
      expect(calls(events)).toEqual([
        ['tool.called', 'test_note'],
        ['tool.finished', undefined],
      ]);
    },
  );

  test('[P8.2] need the token of a turn that runs, whoever asks', async () => {
    const turn = await startTurn(daemon);
    const { token } = await daemon.address();
    const authorized = { authorization: turn.authorization };
    expect(await post(turn, jsonRpc('tools/list'), authorized)).toMatchObject({ status: 200 });
    const offered = [
      {},
      ...[
        'Bearer nonsense',
        `Bearer ${token}`,
        `${turn.authorization}x`,
        turn.authorization.replace('Bearer', 'Basic'),
        'Bearer ',
      ].map((authorization) => ({ authorization })),
    ];
    for (const headers of offered) {
      const answer = await post(turn, jsonRpc('tools/list'), headers);
      expect(answer).toMatchObject({ status: 401, body: refusal });
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer .*invalid_token/);
    }
    await turn.end();
    expect(await post(turn, jsonRpc('tools/list'), authorized)).toMatchObject({ status: 401 });
  });

  test('[P8.2] [P8.3] do not answer a request that was begun before its turn ended and is finished after', async () => {
    const turn = await startTurn(daemon);
    const { host } = new URL(turn.url);
    const body = JSON.stringify(jsonRpc('tools/list'));
    const socket = connect(Number(host.split(':')[1]), '127.0.0.1');
    socket.write(
      `POST /mcp HTTP/1.1\r\nhost: ${host}\r\nauthorization: ${turn.authorization}\r\ncontent-type: application/json\r\n` +
        `accept: application/json, text/event-stream\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body.slice(0, 9)}`,
    );
    await post(turn, jsonRpc('tools/list'), { authorization: turn.authorization }); // it has been heard by now
    await turn.end();
    socket.write(body.slice(9));
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 401 /);
  });

  test('[P8.2] are not for web pages, nor under another name of this machine', async () => {
    const turn = await startTurn(daemon);
    const { authorization } = turn;
    for (const headers of [{ origin: 'https://evil.example' }, { host: 'evil.example' }, { origin: 'null' }])
      expect(await http(daemon, '/mcp', { method: 'POST', headers: { authorization, ...headers } })).toMatchObject({
        status: 403,
      });
    await turn.end();
  });

  test('[P10.2] a request that is too long or none of MCP is refused, and the next is answered', async () => {
    const turn = await startTurn(daemon);
    const headers = { authorization: turn.authorization };
    const long = toolCall('test_echo', { text: 'x'.repeat(10_000) });
    const chunked = httpRequest(turn.url, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
    });
    const answered = new Promise<number>((resolve) => chunked.on('response', ({ statusCode }) => resolve(statusCode!)));
    chunked.on('error', () => undefined); // the rest is not read
    chunked.write(long.slice(0, 6_000));
    chunked.end(long.slice(6_000));
    expect(await answered).toBe(413);
    expect(await post(turn, long, headers)).toMatchObject({ status: 413, body: refusal });
    expect(await post(turn, '{"jsonrpc":', headers)).toMatchObject({ status: 400 });
    expect(await post(turn, '', headers)).toMatchObject({ status: 400 });
    expect(await post(turn, jsonRpc('tools/list'), { ...headers, 'content-type': 'text/plain' })).toMatchObject({
      status: 415,
    });
    const unknown = { ...headers, 'mcp-protocol-version': '1999-01-01' };
    expect(await post(turn, jsonRpc('tools/list'), unknown)).toMatchObject({ status: 400 });
    for (const method of ['GET', 'DELETE', 'PUT'])
      expect(await http(daemon, '/mcp', { method, headers })).toMatchObject({ status: 405, body: refusal });
    expect(await post(turn, jsonRpc('no/such'), headers)).toMatchObject({
      status: 200,
      body: expect.stringContaining('-32601') as string,
    });
    expect(await post(turn, jsonRpc('tools/list'), headers)).toMatchObject({ status: 200 });
    await turn.end();
  });

  test('[P10.2] a turn has so many calls at once and no more', async () => {
    const turn = await startTurn(daemon);
    const client = await connectMcp(turn);
    const [path, until] = [newPath(daemon), newPath(daemon)];
    const note = (line: string) => client.callTool({ name: 'test_note', arguments: { path, line, until } });
    const two = [note('a'), note('b')];
    await expect.poll(async () => (await lines(path)).toSorted()).toEqual(['a', 'b']);
    expect(await note('c')).toMatchObject({
      isError: true,
      content: [{ text: expect.stringMatching(/^too_many_requests/) as string }],
    });
    await writeFile(until, '');
    await Promise.all(two);
    await client.close();
    await turn.end();
  });

  test('[P6.2] a turn’s own secrets are masked in its calls; a fault of ours tells nothing of itself', async () => {
    const turn = await startTurn(daemon);
    const headers = { authorization: turn.authorization };
    const token = turn.authorization.slice('Bearer '.length);
    const echoed = await post(turn, toolCall('test_echo', { text: `<${token}>` }), headers);
    expect(echoed.body).toContain(`<${'*'.repeat(token.length)}>`);
    const fault = await post(turn, toolCall('test_fail', { how: 'fault', why: 'private' }), headers);
    expect(fault.body).toContain('internal: a fault of the daemon');
    expect(fault.body).not.toContain('private');
    expect(JSON.stringify(await turn.end())).not.toContain(token);
  });

  test('a client that cancels, or goes, ends its call', async () => {
    const turn = await startTurn(daemon);
    const client = await connectMcp(turn);
    const [path, until] = [newPath(daemon), newPath(daemon)];
    const cancelled = new AbortController();
    const calling = client.callTool(
      { name: 'test_note', arguments: { path, line: 'a', until } },
      { signal: cancelled.signal },
    );
    await expect.poll(() => lines(path)).toEqual(['a']);
    cancelled.abort();
    await expect(calling).rejects.toThrow();
    await expect.poll(() => lines(path)).toEqual(['a', 'a aborted']);

    const headers = { authorization: turn.authorization };
    const other = post(turn, toolCall('test_note', { path, line: 'b', until }), headers);
    await expect.poll(() => lines(path)).toContain('b');
    await post(turn, jsonRpc('notifications/cancelled', { requestId: 1 }, {}), headers);
    await expect.poll(() => lines(path)).toContain('b aborted');
    await other;

    const gone = new AbortController();
    const lost = post(turn, toolCall('test_note', { path, line: 'c', until }), headers, gone.signal);
    await expect.poll(() => lines(path)).toContain('c');
    gone.abort();
    await expect(lost).rejects.toThrow();
    await expect.poll(() => lines(path)).toContain('c aborted');
    await client.close();
    expect(calls(await turn.end())).toEqual(
      [1, 2, 3].flatMap(() => [
        ['tool.called', 'test_note'],
        ['tool.interrupted', 'cancelled'],
      ]),
    );
  });

  test('[P8.3] a cancelled turn ends its calls, and takes no more', async () => {
    const turn = await startTurn(daemon);
    const [path, until] = [newPath(daemon), newPath(daemon)];
    const headers = { authorization: turn.authorization };
    const calling = post(turn, toolCall('test_note', { path, line: 'a', until }), headers);
    await expect.poll(() => lines(path)).toEqual(['a']);
    await (await daemon.client()).call('task.cancel', { taskId: turn.taskId });
    expect(await post(turn, jsonRpc('tools/list'), headers)).toMatchObject({ status: 401 });
    expect((await calling).body).toContain('tool_interrupted');
    const events = await daemon.eventsUntilEnded(turn.taskId, turn.turnId);
    expect(
      events
        .filter(({ type }) => type !== 'tool.output')
        .slice(-4)
        .map(({ type }) => type),
    ).toEqual(['tool.called', 'turn.stopping', 'tool.interrupted', 'turn.ended']);
    expect(await lines(path)).toEqual(['a', 'a aborted']);
  });

  test('[P8.3] what a turn still calls when its executor exits ends before the turn does', async () => {
    const turn = await startTurn(daemon);
    const [path, until] = [newPath(daemon), newPath(daemon)];
    const calling = post(turn, toolCall('test_note', { path, line: 'a', until }), {
      authorization: turn.authorization,
    });
    await expect.poll(() => lines(path)).toEqual(['a']);
    expect((await turn.end()).slice(-2).map(({ type, data }) => [type, data['reason']])).toEqual([
      ['tool.interrupted', 'turn_ended'],
      ['turn.ended', 'completed'],
    ]);
    await calling;
  });
});
