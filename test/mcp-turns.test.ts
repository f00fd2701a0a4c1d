import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { startDaemon } from './support/daemon.ts';
import { calls, connectMcp, lines, newPath, post, startTurn, toolCall, withTools } from './support/tools.ts';

test('[P8.4] a call after a restart of the daemon needs nothing anew: the same address, the same token', async () => {
  await using daemon = await startDaemon(withTools);
  const turn = await startTurn(daemon);
  const client = await connectMcp(turn);
  await client.callTool({ name: 'test_echo', arguments: { text: 'before' } });
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await daemon.kill(signal);
    await daemon.start();
    expect(await client.callTool({ name: 'test_echo', arguments: { text: 'after' } })).toMatchObject({
      structuredContent: { text: 'after' },
    });
  }
  await client.close();
  expect((await turn.end()).at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
});

test('[P9.4] kill -9 in the middle of an executor’s call: it is closed and not run again, and the turn goes on', async () => {
  await using daemon = await startDaemon(withTools);
  const turn = await startTurn(daemon);
  const [path, until] = [newPath(daemon), newPath(daemon)];
  const headers = { authorization: turn.authorization };
  const calling = post(turn, toolCall('test_note', { path, line: 'a', until }), headers).catch(() => 'lost');
  await expect.poll(() => lines(path)).toEqual(['a']);
  await daemon.kill();
  expect(await calling).toBe('lost');
  await daemon.start();
  await post(turn, toolCall('test_echo', { text: 'x' }), headers);
  const events = await turn.end();
  expect(calls(events)).toEqual([
    ['tool.called', 'test_note'],
    ['tool.interrupted', 'daemon_restarted'],
    ['tool.called', 'test_echo'],
    ['tool.finished', undefined],
  ]);
  expect(events.at(-1)!.data).toMatchObject({ outcome: 'succeeded' });
  expect(await lines(path)).toEqual(['a']);
});

test('[P3.4] a silent turn is not idle while one of our tools works for it', async () => {
  await using daemon = await startDaemon({ ...withTools, flags: { ...withTools.flags, 'turn-idle-ms': 400 } });
  const turn = await startTurn(daemon);
  const [path, until] = [newPath(daemon), newPath(daemon)];
  const calling = post(turn, toolCall('test_note', { path, line: 'a', until }), { authorization: turn.authorization });
  await expect.poll(() => lines(path)).toEqual(['a']);
  const shownTime = Date.now() + 1_500;
  await expect.poll(() => Date.now(), { timeout: 5_000 }).toBeGreaterThan(shownTime);
  await writeFile(until, '');
  expect((await calling).body).toContain('workspace');
  const events = await daemon.eventsUntilEnded(turn.taskId, turn.turnId);
  expect(events.slice(-3).map(({ type, data }) => [type, data['cause'] ?? data['reason']])).toEqual([
    ['tool.finished', undefined],
    ['turn.stopping', 'idle'],
    ['turn.ended', 'idle'],
  ]);
});

test('[P8.1] Claude Code lists and calls them', { timeout: 60_000 }, async () => {
  await using daemon = await startDaemon();
  const prompt = '{{tool: mcp__harnessd__computer_info {}}} {{say: I know it now.}}';
  const { events, ended, turnId } = await daemon.run({ prompt });
  expect(ended.data).toMatchObject({ outcome: 'succeeded' });
  const called = events.filter(({ type }) => type === 'tool.called');
  const own = called.find(({ data }) => data['via'] === undefined)!;
  const served = called.find(({ data }) => data['via'] === 'mcp')!;
  expect(own.data).toMatchObject({ name: 'mcp__harnessd__computer_info' });
  expect([served.turnId, served.data]).toMatchObject([
    turnId,
    { name: 'computer_info', parentCallId: own.data['callId'] },
  ]);
  const output = (callId: unknown): unknown =>
    JSON.parse(
      events.find(({ type, data }) => type === 'tool.finished' && data['callId'] === callId)!.data['output'] as string,
    );
  expect(output(own.data['callId'])).toEqual(output(served.data['callId']));
  expect(output(served.data['callId'])).toMatchObject({ system: { platform: process.platform } });
});
