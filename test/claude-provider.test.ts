import { writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StoredEvent } from '../src/protocol/events.ts';
import { prepareDaemon, startDaemon, type TestDaemon } from './support/daemon.ts';
import { processesOf, startOf, texts } from './support/turns.ts';

/* The installed Claude Code before a provider that fails in every way of its Failures table; only the model is scripted. */

const sessionTime = (events: readonly StoredEvent[]): number =>
  events.find(({ type }) => type === 'executor.session')!.at;

interface Row {
  readonly name: string;
  readonly prompt: string;
  readonly model?: string;
  readonly reason: string;
  readonly evidence: object;
  /** Undefined: it depends on where the stream broke. */
  readonly retries?: number;
}
type Run = Awaited<ReturnType<TestDaemon['run']>>;
const status = (code: number, reason: string, retries: number, more = ''): Row => ({
  name: `${code}${more}`,
  prompt: `{{status: ${code}${more}}}`,
  reason,
  evidence: { httpStatus: code },
  retries,
});

describe('a provider that fails', { timeout: 60_000 }, () => {
  const rows: readonly Row[] = [
    status(429, 'rate_limited', 2, ', retry-after 20'), // the slowest first
    status(401, 'auth', 1),
    status(402, 'billing', 0),
    status(403, 'auth', 0),
    status(400, 'invalid_request', 0),
    status(429, 'rate_limited', 3),
    status(500, 'provider_error', 3),
    status(529, 'provider_error', 3),
    {
      name: 'an unknown model',
      prompt: 'hello',
      model: 'no-such-model',
      reason: 'model_not_found',
      evidence: { httpStatus: 404 },
      retries: 0,
    },
    { name: 'a dropped connection', prompt: '{{drop}}', reason: 'provider_unreachable', evidence: {}, retries: 3 },
    { name: 'a stream cut', prompt: '{{say: Half of it.}} {{cut}}', reason: 'stream_cut', evidence: {} },
    { name: 'a stream cut in its middle', prompt: '{{cut}}', reason: 'stream_cut', evidence: {} },
    {
      name: 'a stream that ends early',
      prompt: '{{say: Half of it.}} {{early-end}}',
      reason: 'stream_cut',
      evidence: {},
      retries: 0,
    },
    {
      name: 'a stream that ends early in its middle',
      prompt: '{{early-end}}',
      reason: 'stream_cut',
      evidence: {},
    },
  ];
  let daemon: TestDaemon;
  let runs: Map<string, Promise<Run>>;
  beforeAll(async () => {
    daemon = await startDaemon({ flags: { 'turn-concurrency': 7 } });
    const models = [
      { id: 'no-such-model', provider: 'anthropic' as const, native: 'no-such-model', executors: ['claude'] },
    ];
    await (await daemon.client()).call('policy.set', { models });
    runs = new Map(rows.map(({ name, prompt, model }) => [name, daemon.run({ prompt, ...(model && { model }) })]));
    for (const run of runs.values()) run.catch(() => undefined); // its test tells
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test.for(rows.toReversed())(
    '[P3.2] with $name ends the turn in time, as $reason, with evidence',
    async ({ name, reason, evidence, retries }) => {
      const { events, ended, turnId } = (await runs.get(name))!;
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason,
        evidence: { saidResult: true, message: expect.stringMatching(/./) as unknown, ...evidence },
      });
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
      const told = events.filter(({ type }) => type === 'retry.announced');
      if (retries !== undefined) expect(told.length).toBe(retries);
      const stopping = events.find(({ type }) => type === 'turn.stopping')?.data;
      expect(stopping).toEqual(name.includes('retry-after') ? { cause: 'retry_limit' } : undefined);
      expect(events.filter(({ type }) => type === 'executor.unparsed')).toEqual([]);
      expect(await processesOf(turnId)).toEqual([]);
    },
  );

  test('[P3.2] once only is overcome', async () => {
    const overcome = await Promise.all(
      ['{{status: 529, once}}', '{{drop: once}}', '{{say: Half.}} {{cut: once}}'].map((fault) =>
        daemon.run({ prompt: `${fault} {{run: true}} {{say: Recovered.}}` }),
      ),
    );
    for (const { events, ended } of overcome) {
      expect(ended.data['outcome']).toBe('succeeded');
      expect(texts(events).at(-1)).toBe('Recovered.');
    }
  });
});

describe('a provider that says nothing', { timeout: 60_000 }, () => {
  test('[P3.2] [P3.4] at all, or no more, is left after the idle time', async () => {
    await using daemon = await startDaemon({ flags: { 'turn-idle-ms': 5000 } });
    const [hang, stall] = await Promise.all([
      daemon.run({ prompt: '{{hang}}' }),
      daemon.run({ prompt: '{{say: words}} {{stall}}' }),
    ]);
    for (const { events, ended } of [hang, stall]) {
      expect(ended.data).toMatchObject({
        outcome: 'timed_out',
        reason: 'idle',
        evidence: { exitCode: 0, signal: null },
      });
      expect(events.at(-1)!.at - sessionTime(events)).toBeLessThan(10_000);
    }
    expect(texts(stall.events)).toEqual(['words']);
  });

  test('[P3.2] [P6.4] as nobody listens there is unreachable', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await using daemon = await prepareDaemon();
    const file = join(daemon.dir, 'credentials.json');
    const key = 'sk-ant-api03-nobody-hears-of-it';
    await writeFile(
      file,
      JSON.stringify({ claude: { ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}` } }),
      { mode: 0o600 },
    );
    await daemon.start({ flags: { 'credentials-file': file } });
    const { events, ended, turnId } = await daemon.run({ prompt: 'hello' });
    expect(ended.data).toMatchObject({
      outcome: 'failed',
      reason: 'provider_unreachable',
      evidence: { exitCode: 1, message: expect.stringContaining('ECONNREFUSED') as unknown },
    });
    expect(events.filter(({ type }) => type === 'retry.announced')).toHaveLength(3);
    expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
  });
});
