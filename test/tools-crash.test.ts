import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startDaemon } from './support/daemon.ts';
import { openPeer } from './support/peer.ts';
import { callStory, lines, told, withTools } from './support/tools.ts';

test('[P9.4] the call is recorded before its effect: killed between the two, it is closed and never run', async () => {
  await using daemon = await startDaemon({
    ...withTools,
    flags: { ...withTools.flags, 'faults-crash-at': 'call.opened' },
  });
  const path = join(daemon.dir, 'file');
  const call = { name: 'test_note', input: { path, line: 'a' }, id: 'crash' };
  const lost = await openPeer(daemon);
  lost.send({ jsonrpc: '2.0', id: 1, method: 'tool.call', params: call });
  await daemon.crashed;
  await daemon.start({ flags: { 'faults-crash-at': 'never' } });
  await using peer = await openPeer(daemon);
  const interrupted = told('tool_interrupted', { reason: 'daemon_restarted' });
  expect((await peer.request('tool.call', call)).error).toEqual(interrupted);
  expect(await callStory(peer, 'crash')).toEqual([
    ['tool.called', { callId: 'crash', name: 'test_note', input: call.input, kind: 'edit', via: 'rpc' }],
    ['tool.interrupted', { callId: 'crash', reason: 'daemon_restarted' }],
  ]);
  expect(existsSync(path)).toBe(false);
});

test('[P9.4] killed after the effect and before the answer is recorded, the call is closed and not run again', async () => {
  await using daemon = await startDaemon({
    ...withTools,
    flags: { ...withTools.flags, 'faults-crash-at': 'call.performed' },
  });
  const path = join(daemon.dir, 'file');
  const call = { name: 'test_note', input: { path, line: 'a' }, id: 'crash' };
  const lost = await openPeer(daemon);
  lost.send({ jsonrpc: '2.0', id: 1, method: 'tool.call', params: call });
  await daemon.crashed;
  for (const _ of [1, 2]) {
    await daemon.start({ flags: { 'faults-crash-at': 'never' } });
    await using peer = await openPeer(daemon);
    const interrupted = told('tool_interrupted', { reason: 'daemon_restarted' });
    expect((await peer.request('tool.call', call)).error).toEqual(interrupted);
    expect((await callStory(peer, 'crash')).map(([type]) => type)).toEqual(['tool.called', 'tool.interrupted']);
    await daemon.kill();
  }
  expect(await lines(path)).toEqual(['a']);
});

test('a daemon that is told to stop ends the calls that run, and says so', async () => {
  await using daemon = await startDaemon(withTools);
  const path = join(daemon.dir, 'file');
  const call = { name: 'test_note', input: { path, line: 'a', until: join(daemon.dir, 'never') }, id: 'stopped' };
  const first = await openPeer(daemon);
  first.send({ jsonrpc: '2.0', id: 1, method: 'tool.call', params: call });
  await expect.poll(() => lines(path)).toEqual(['a']);
  await daemon.kill('SIGTERM');
  await daemon.start();
  await using peer = await openPeer(daemon);
  expect((await peer.request('tool.call', call)).error).toEqual(
    told('tool_interrupted', { reason: 'daemon_stopping' }),
  );
  expect((await callStory(peer, 'stopped')).at(-1)![1]).toEqual({ callId: 'stopped', reason: 'daemon_stopping' });
  expect(await lines(path)).toEqual(['a', 'a aborted']);
});
