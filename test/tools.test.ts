import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startDaemon, type DaemonOptions, type TestDaemon } from './support/daemon.ts';
import { openPeer, type Peer } from './support/peer.ts';
import { callStory, lines, told, withTools } from './support/tools.ts';

const options: DaemonOptions = {
  ...withTools,
  flags: { ...withTools.flags, 'tools-output-bytes': 10_000, 'tools-event-bytes': 1_000 },
};

describe('tools, called by a peer', () => {
  let daemon: TestDaemon;
  let peer: Peer;
  let files = 0;
  const newPath = (): string => join(daemon.dir, `file-${(files += 1)}`);

  beforeAll(async () => {
    daemon = await startDaemon(options);
    peer = await openPeer(daemon);
  });
  afterAll(async () => {
    await peer[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
  });

  test('[P8.1] are listed with what they take and give', async () => {
    const { tools } = (await peer.call('tool.list')) as { tools: { name: string }[] };
    expect(tools.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['computer_info', 'test_echo', 'test_note', 'test_hang', 'test_fail']),
    );
    expect(tools.find(({ name }) => name === 'test_echo')).toEqual({
      name: 'test_echo',
      summary: 'Says it again.',
      effect: 'read',
      inputSchema: {
        type: 'object',
        properties: {
          text: { type: 'string' },
          times: { type: 'integer', minimum: 1, maximum: 2 ** 53 - 1, default: 1 },
        },
        required: ['text'],
        additionalProperties: false,
      },
      outputSchema: {
        type: 'object',
        properties: { text: { type: 'string' } },
        required: ['text'],
        additionalProperties: false,
      },
    });
  });

  test('computer_info says what the computer is and offers, and nothing of what is secret', async () => {
    const { callId, output } = await peer.call('tool.call', { name: 'computer_info' });
    expect(output).toMatchObject({
      computerId: (await peer.call('daemon.info'))['computerId'],
      system: { platform: process.platform, arch: process.arch },
      cpu: { count: expect.any(Number) as number },
      user: { uid: process.getuid!(), home: expect.any(String) as string },
      executors: expect.arrayContaining([{ executor: 'claude', available: true }]) as object[],
      programs: { git: expect.stringMatching(/\/git$/) as string },
      tools: expect.arrayContaining(['computer_info']) as string[],
      notes: expect.arrayContaining([expect.stringContaining('TMPDIR')]) as string[],
    });
    expect(JSON.stringify(output)).not.toContain((await daemon.address()).token);
    const [called] = await callStory(peer, callId as string);
    expect(called).toEqual(['tool.called', { callId, name: 'computer_info', input: {}, kind: 'read', via: 'rpc' }]);
  });

  test('a call for a task is told among its events, has its workspace, and its answers go with it', async () => {
    const { taskId } = await daemon.run({ prompt: 'result' });
    const call = { name: 'test_note', input: { path: newPath(), line: 'a' }, taskId, id: 'for-a-task' };
    const { workspace } = (await peer.call('task.get', { taskId })) as { workspace: string };
    expect(await peer.call('tool.call', call)).toEqual({ callId: 'for-a-task', output: { workspace } });
    const events = await daemon.eventsUntil(taskId, ({ type }) => type === 'tool.finished');
    expect(events.slice(-3).map(({ type, turnId, data }) => [type, turnId, data['callId']])).toEqual([
      ['tool.called', null, 'for-a-task'],
      ['tool.output', null, 'for-a-task'],
      ['tool.finished', null, 'for-a-task'],
    ]);
    await peer.call('task.delete', { taskId });
    expect((await peer.request('tool.call', call)).error).toEqual(told('task_not_found'));
  });

  test('a task is not deleted while a tool is at work for it', async () => {
    const { taskId } = await daemon.run({ prompt: 'result' });
    const [path, until] = [newPath(), newPath()];
    const calling = peer.call('tool.call', { name: 'test_note', input: { path, line: 'a', until }, taskId });
    await expect.poll(() => lines(path)).toEqual(['a']);
    expect((await peer.request('task.delete', { taskId })).error).toEqual(told('task_active'));
    await writeFile(until, '');
    await calling;
    await peer.call('task.delete', { taskId });
  });

  test('[P10.1] what there is not or does not fit is refused with the place, and nothing is recorded', async () => {
    const { latestId } = await peer.call('daemon.info');
    const path = newPath();
    const refused: [object, object][] = [
      [
        { name: 'test_echo', input: {} },
        { code: 'invalid_params', paths: ['text'] },
      ],
      [
        { name: 'test_echo', input: { text: 1, times: 0, more: true } },
        { code: 'invalid_params', paths: ['text', 'times', 'more'] },
      ],
      [
        { name: 'test_echo', input: 'text' },
        { code: 'invalid_params', paths: ['input'] },
      ],
      [{ name: 'toString' }, { code: 'tool_not_found', paths: [] }],
      [
        { name: 'test_note', input: { path, line: 'x' }, taskId: 'none' },
        { code: 'task_not_found', paths: [] },
      ],
      [
        { name: 'test_note', input: { path, line: 'x' }, id: 'a b' },
        { code: 'invalid_params', paths: ['id'] },
      ],
    ];
    for (const [params, refusal] of refused)
      expect([params, await peer.refusal('tool.call', params)]).toEqual([params, refusal]);
    expect(await peer.call('daemon.info')).toMatchObject({ latestId });
    expect(existsSync(path)).toBe(false);
  });

  test('a tool that fails says why; a fault of ours says only that; both are recorded', async () => {
    const fail = async (input: object) => (await peer.request('tool.call', { name: 'test_fail', input })).error;
    expect(await fail({ how: 'expected', why: 'gone' })).toEqual({
      ...told('tool_failed', { why: 'gone' }),
      message: 'no such thing: gone',
    });
    expect(await fail({ how: 'fault', why: 'private' })).toEqual({
      ...told('internal'),
      message: 'a fault of the daemon; its log has the cause',
    });
    expect(await fail({ how: 'output' })).toEqual(told('internal'));
    const { subscription } = await peer.call('event.subscribe', {});
    const finished = await peer.find(() =>
      peer.events.find(({ type, data }) => type === 'tool.finished' && data['output'] === 'no such thing: gone'),
    );
    await peer.call('event.unsubscribe', { subscription });
    expect(finished.data).toMatchObject({ outcome: 'error', via: 'rpc' });
  });

  test('[P10.2] a call that takes too long or says too much is ended, and the daemon goes on', async () => {
    expect((await peer.request('tool.call', { name: 'test_hang', id: 'slow' })).error).toEqual(
      told('tool_interrupted', { reason: 'timeout' }),
    );
    expect(await callStory(peer, 'slow')).toEqual([
      ['tool.called', { callId: 'slow', name: 'test_hang', input: {}, kind: 'execute', via: 'rpc' }],
      ['tool.interrupted', { callId: 'slow', reason: 'timeout' }],
    ]);
    const long = { name: 'test_echo', input: { text: 'x', times: 10_000 } };
    expect((await peer.request('tool.call', long)).error).toEqual(told('tool_failed'));
  });

  test('of a long input and output the journal keeps the beginning, the answer is whole', async () => {
    const text = 'é'.repeat(900);
    const { output } = await peer.call('tool.call', { name: 'test_echo', input: { text, times: 2 }, id: 'long' });
    expect(output).toEqual({ text: text + text });
    const [called, finished] = await callStory(peer, 'long');
    expect(called![1]).toMatchObject({ input: `{"text":"${'é'.repeat(495)}`, bytes: 1821 });
    expect(finished![1]).toMatchObject({ output: `{"text":"${'é'.repeat(495)}`, bytes: 3611 });
  });

  test('[P6.2] a known secret is masked in what a call is given, says and fails with', async () => {
    const { token } = await daemon.address();
    const stars = '*'.repeat(token.length);
    const { output } = await peer.call('tool.call', { name: 'test_echo', input: { text: token }, id: 'secret' });
    expect(output).toEqual({ text: stars });
    expect(JSON.stringify(await callStory(peer, 'secret'))).not.toContain(token);
    const failed = { name: 'test_fail', input: { how: 'expected', why: token }, id: 'secret-2' };
    expect((await peer.request('tool.call', failed)).error).toMatchObject({
      message: `no such thing: ${stars}`,
      data: { why: stars },
    });
    await callStory(peer, 'secret-2');
    for (const file of ['harnessd.db', 'harnessd.db-wal'])
      expect((await readFile(join(daemon.stateDir, file))).includes(token)).toBe(false);
  });

  test('[P9.3] a call sent again with the same id and body acts once and gets the same answer', async () => {
    const path = newPath();
    const call = { name: 'test_note', input: { path, line: 'once' }, id: 'again' };
    const first = await peer.call('tool.call', call);
    expect(await peer.call('tool.call', { ...call, input: { line: 'once', path } })).toEqual(first);
    for (const other of [{ input: { path, line: 'twice' } }, { name: 'test_echo', input: { text: '' } }])
      expect((await peer.request('tool.call', { ...call, ...other })).error).toEqual(told('conflict'));
    const failing = { name: 'test_fail', input: { how: 'expected', why: 'x' }, id: 'again-failed' };
    const { error } = await peer.request('tool.call', failing);
    expect((await peer.request('tool.call', failing)).error).toEqual(error);
    await daemon.kill('SIGTERM');
    await daemon.start();
    await peer[Symbol.asyncDispose]();
    peer = await openPeer(daemon);
    expect(await peer.call('tool.call', call)).toEqual(first);
    expect((await peer.request('tool.call', failing)).error).toEqual(error);
    expect(await lines(path)).toEqual(['once']);
  });

  test('[P9.3] a call with an id outlives its connection: who comes back waits for the same', async () => {
    const [path, until] = [newPath(), newPath()];
    const call = { name: 'test_note', input: { path, line: 'a', until }, id: 'comes-back' };
    const lost = await openPeer(daemon);
    lost.send({ jsonrpc: '2.0', id: 1, method: 'tool.call', params: call });
    await expect.poll(() => lines(path)).toEqual(['a']);
    await lost[Symbol.asyncDispose]();
    expect((await peer.request('tool.call', { ...call, input: { path, line: 'b' } })).error).toEqual(told('conflict'));
    const [one, other] = [peer.call('tool.call', call), peer.call('tool.call', call)];
    await peer.call('daemon.info'); // both wait by now
    await writeFile(until, '');
    expect([await one, await other]).toEqual(
      Array.from({ length: 2 }, () => ({ callId: 'comes-back', output: { workspace: null } })),
    );
    expect(await lines(path)).toEqual(['a']);
  });

  test('a cancelled call is aborted, told of, and not run again; one without an id ends with its connection', async () => {
    const [path, until] = [newPath(), newPath()];
    const call = { name: 'test_note', input: { path, line: 'a', until }, id: 'cancelled' };
    peer.send({ jsonrpc: '2.0', id: 'x', method: 'tool.call', params: call });
    await expect.poll(() => lines(path)).toEqual(['a']);
    peer.send({ jsonrpc: '2.0', method: '$/cancel', params: { id: 'x' } });
    expect((await peer.answer('x')).error).toEqual(told('request_cancelled'));
    await expect.poll(() => lines(path)).toEqual(['a', 'a aborted']);
    expect((await callStory(peer, 'cancelled')).at(-1)).toEqual([
      'tool.interrupted',
      { callId: 'cancelled', reason: 'cancelled' },
    ]);
    expect((await peer.request('tool.call', call)).error).toEqual(told('tool_interrupted', { reason: 'cancelled' }));

    const gone = await openPeer(daemon);
    const anonymous = { name: 'test_note', input: { path, line: 'b', until } };
    gone.send({ jsonrpc: '2.0', id: 1, method: 'tool.call', params: anonymous });
    await expect.poll(() => lines(path)).toContain('b');
    await gone[Symbol.asyncDispose]();
    await expect.poll(() => lines(path)).toContain('b aborted');
  });
});
