import { readdir, readFile } from 'node:fs/promises';
import { connect as connectTcp } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prepareDaemon, programs, startDaemon, type TestDaemon } from './support/daemon.ts';

const fake = { 'executors-binaries': `claude=${join(programs, 'fake-claude.mjs')}` };

async function hostPid(daemon: TestDaemon): Promise<number> {
  const hosts = join(daemon.stateDir, 'hosts');
  const name = (await readdir(hosts)).find((file) => file.endsWith('.json'))!;
  return (JSON.parse(await readFile(join(hosts, name), 'utf8')) as { pid: number }).pid;
}

test('[P3.3] stop --end-turns ends also what was being asked for when it came', async () => {
  await using daemon = await startDaemon({ flags: fake });
  const client = await daemon.client();
  const asked = Array.from({ length: 30 }, () => client.call('task.create', { prompt: 'say on\nsleep 600000' }));
  const stopped = client.call('daemon.stop', { endTurns: true });
  const refs = (await Promise.allSettled(asked)).flatMap((made) => (made.status === 'fulfilled' ? [made.value] : []));
  await stopped;
  await daemon.exited();
  expect((await daemon.processes()).filter((line) => line.includes('fake-claude'))).toEqual([]);
  await daemon.start();
  const again = await daemon.client();
  for (const { taskId } of refs) {
    const { turns } = await again.call('task.get', { taskId });
    expect(turns).toMatchObject([{ state: 'ended', outcome: 'cancelled', reason: 'by_stop' }]);
  }
});

test('[P5.1] a pty host that stands still keeps neither start nor stop nor a cancel waiting', async () => {
  await using daemon = await startDaemon({ flags: fake });
  const client = await daemon.client();
  const { taskId, turnId } = await client.call('task.create', { prompt: 'say on\nsleep 600000' });
  await daemon.eventsUntil(taskId, ({ type }) => type === 'message.added');
  const pid = await hostPid(daemon);
  process.kill(pid, 'SIGSTOP');
  try {
    const next = await client.call('task.create', { prompt: 'result' });
    expect(await client.call('task.cancel', { taskId })).toEqual({ cancelled: [turnId] });
    await daemon.kill('SIGTERM');
    await daemon.start();
    expect(await (await daemon.client()).call('task.get', { taskId: next.taskId })).toMatchObject({ turns: [{}] });
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  const events = await daemon.eventsUntilEnded(taskId, turnId);
  expect(events.at(-1)!.data).toMatchObject({ outcome: 'cancelled', reason: 'by_peer' });
});

test('[P6.2] a secret that only shows when control sequences are taken away is masked in the evidence', async () => {
  const secret = 'sk-ant-api03-very-secret-indeed';
  await using daemon = await startDaemon({ flags: fake, env: { ANTHROPIC_API_KEY: secret } });
  const split = `${secret.slice(0, 10)}\u001b[0m${secret.slice(10)}`;
  const { ended } = await daemon.run({ prompt: `error ${split}\nexit 1` });
  expect(ended.data).toMatchObject({ outcome: 'failed', evidence: { terminal: '*'.repeat(secret.length) } });
});

test('[P6.2] a credential that is there beside the one in use is masked too', async () => {
  const spare = 'a-token-nobody-uses-now';
  await using daemon = await prepareDaemon({
    flags: fake,
    env: { ANTHROPIC_API_KEY: 'sk-ant-the-one-in-use', ANTHROPIC_AUTH_TOKEN: spare },
  });
  await daemon.start();
  const { events } = await daemon.run({ prompt: `say ${spare}\nresult` });
  expect(JSON.stringify(events)).not.toContain(spare);
});

test('[P6.5] [P10.2] who has no token can send nothing of size', async () => {
  await using daemon = await startDaemon({ flags: fake });
  const { port } = new URL((await daemon.address()).url);
  const socket = connectTcp(Number(port), '127.0.0.1');
  socket.on('error', () => undefined); // it is cut off: that is the point
  const head = [
    'GET /v1/rpc HTTP/1.1',
    `Host: 127.0.0.1:${port}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    'Sec-WebSocket-Protocol: harness.v1',
    'Authorization: Bearer wrong',
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  await once(socket, 'data');
  socket.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x00, 0x40, 0, 0, 1, 2, 3, 4])); // announces 4 MiB
  await once(socket.resume(), 'close');
  expect(socket.bytesWritten).toBeLessThan(1000);
});
