import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prepareDaemon, programs } from './support/daemon.ts';

test('a fifth executor is one definition and its place in the registry: it runs, is listed, obeys the policy', async () => {
  await using daemon = await prepareDaemon({ entry: join(programs, 'daemon-with-tiny.ts') });
  const program = join(daemon.dir, 'tiny.sh');
  await writeFile(program, '#!/bin/sh\nread -r line\necho "{\\"say\\": \\"$2: $line\\"}"\necho "{\\"done\\": true}"\n');
  await chmod(program, 0o755);
  await daemon.start();
  const client = await daemon.client();
  const models = [{ id: 'tiny-1', provider: 'openai' as const, native: 'tiny-1-2026', executors: ['tiny'] }];
  await client.call('policy.set', { models });
  const create = (executor: string) => client.call('task.create', { prompt: 'hello', executor, model: 'tiny-1' });
  await expect(create('tiny')).rejects.toMatchObject({
    code: 'executor_unavailable',
    data: { command: 'set executors.binaries to tiny=/its/program' },
  });

  await daemon.kill();
  await daemon.start({ flags: { 'executors-binaries': `tiny=${program}` } });
  const { events, ended } = await daemon.run({ prompt: 'hello', executor: 'tiny', model: 'tiny-1' });
  expect(ended.data).toMatchObject({ outcome: 'succeeded' });
  expect(events.filter(({ type }) => type === 'message.added').map(({ data }) => data)).toEqual([
    { text: 'tiny-1-2026: hello' },
  ]);
  const again = await daemon.client();
  expect((await again.call('executor.list', {})).executors.at(-1)).toMatchObject({ executor: 'tiny', available: true });
  await again.call('policy.set', { models, executors: { tiny: { enabled: false } } });
  await expect(again.call('task.create', { prompt: 'x', executor: 'tiny', model: 'tiny-1' })).rejects.toMatchObject({
    code: 'executor_disabled',
  });
});
