import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answeringProvider } from './support/answering-provider.ts';
import { by, only, processesOf, startOf, texts } from './support/turns.ts';
import { prepareDaemon, startDaemon, type TestDaemon } from './support/daemon.ts';

/* The installed Codex, run by a real daemon, when its provider does not do what it should. */

type Run = Awaited<ReturnType<TestDaemon['run']>>;

interface Row {
  readonly name: string;
  readonly prompt: string;
  readonly reason: string;
  /** As far as the CLI tells it. */
  readonly httpStatus?: number;
  readonly retries: number;
}
const status = (code: number, reason: string, retries: number, more = ''): Row => ({
  name: `${code}${more}`,
  prompt: `{{status: ${code}${more}}}`,
  reason,
  httpStatus: code,
  retries,
});
/** Of these it has words, but no status. */
const untold = ({ httpStatus: _, ...row }: Row): Row => row;

describe('a provider that fails', { timeout: 60_000 }, () => {
  const rows: readonly Row[] = [
    status(429, 'rate_limited', 1, ', retry-after 15'), // the slowest first
    untold(status(500, 'provider_error', 1)),
    status(529, 'provider_error', 1),
    { name: 'a dropped connection', prompt: '{{drop}}', reason: 'provider_unreachable', retries: 1 },
    untold(status(400, 'invalid_request', 0)),
    status(401, 'auth', 1),
    status(402, 'billing', 1),
    status(403, 'auth', 1),
    status(429, 'rate_limited', 0),
    { name: 'a stream cut', prompt: '{{say: Half of it.}} {{cut}}', reason: 'stream_cut', retries: 1 },
    { name: 'a stream cut in its middle', prompt: '{{cut}}', reason: 'stream_cut', retries: 1 },
    { name: 'a stream that ends early', prompt: '{{early-end}}', reason: 'stream_cut', retries: 1 },
  ];
  let daemon: TestDaemon;
  let runs: Map<string, Promise<Run>>;
  beforeAll(async () => {
    daemon = await startDaemon(by('codex', { 'turn-concurrency': 5 }));
    runs = new Map(rows.map(({ name, prompt }) => [name, daemon.run({ prompt })]));
    for (const run of runs.values()) run.catch(() => undefined); // its test tells
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test.for(rows.toReversed())(
    '[P3.2] with $name ends the turn in time, as $reason, with evidence',
    async ({ name, reason, httpStatus, retries }) => {
      const { events, ended, turnId } = (await runs.get(name))!;
      const message = expect.stringMatching(/./) as unknown;
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason,
        evidence: { exitCode: 1, saidResult: true, message, ...(httpStatus !== undefined && { httpStatus }) },
      });
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
      expect(only(events, 'retry.announced')).toHaveLength(retries);
      expect(only(events, 'executor.unparsed')).toEqual([]);
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
    await using daemon = await startDaemon(by('codex', { 'turn-idle-ms': 4000 }));
    const [hang, stall] = await Promise.all([
      daemon.run({ prompt: '{{hang}}' }),
      daemon.run({ prompt: '{{say: words}} {{stall}}' }),
    ]);
    for (const { events, ended, turnId } of [hang, stall]) {
      expect(ended.data).toMatchObject({ outcome: 'timed_out', reason: 'idle', evidence: { saidResult: false } });
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(10_000);
      expect(await processesOf(turnId)).toEqual([]);
    }
    expect(texts(stall.events)).toEqual(['words']);
  });
});

test(
  '[P3.2] [P6.4] a provider that does not know the model, and one that is not there any more, end the turn as that',
  { timeout: 60_000 },
  async () => {
    const message = 'The model `gpt-5.4` does not exist or you do not have access to it.';
    const provider = createServer((_, response) => {
      response.writeHead(404, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { message, type: 'invalid_request_error', code: 'model_not_found' } }));
    }).listen(0, '127.0.0.1');
    await once(provider, 'listening');
    const { port } = provider.address() as AddressInfo;
    await using daemon = await prepareDaemon(by('codex'));
    const file = join(daemon.dir, 'credentials.json');
    const login = { OPENAI_API_KEY: 'sk-proj-nobody-hears-of-it', OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1` };
    await writeFile(file, JSON.stringify({ codex: login }), { mode: 0o600 });
    await daemon.start({ flags: { 'credentials-file': file } });
    const unknown = await daemon.run({ prompt: 'hello' });
    provider.close();
    provider.closeAllConnections();
    const unreachable = await daemon.run({ prompt: 'hello' });

    const evidence = { exitCode: 1, signal: null, saidResult: true };
    expect(unknown.ended.data).toMatchObject({
      outcome: 'failed',
      reason: 'model_not_found',
      evidence: { ...evidence, message },
    });
    expect(unreachable.ended.data).toMatchObject({
      outcome: 'failed',
      reason: 'provider_unreachable',
      evidence: { ...evidence, message: 'Connection failed: error sending request' },
    });
    for (const { events, ended, turnId } of [unknown, unreachable])
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
  },
);

test(
  '[P3.2] a provider that says within its answer why it breaks off ends the turn as that',
  { timeout: 60_000 },
  async () => {
    const incomplete = (reason: string) => ({
      type: 'response.incomplete',
      response: { incomplete_details: { reason } },
    });
    const message = 'The server had an error while processing your request.';
    const failed = { type: 'response.failed', response: { error: { code: 'server_error', message } } };
    const ends = {
      unsafe: [incomplete('content_filter'), 'refused'],
      long: [incomplete('max_output_tokens'), 'too_long'],
      unlucky: [failed, 'provider_error'],
    } as const;
    await using provider = await answeringProvider(({ body }) => {
      const [end] = Object.entries(ends).find(([prompt]) => body.includes(`please be ${prompt}`))![1];
      const stream = [{ type: 'response.created', response: {} }, end].map(({ type, response }) => {
        const data = { type, response: { id: 'resp_1', ...response } };
        return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
      });
      return { body: stream.join('') };
    });
    const env = { OPENAI_API_KEY: 'sk-proj-nobody-hears-of-it', OPENAI_BASE_URL: `${provider.url}/v1` };
    await using daemon = await startDaemon({ ...by('codex'), env });
    const runs = Object.keys(ends).map((prompt) => daemon.run({ prompt: `please be ${prompt}` }));
    const ended = (await Promise.all(runs)).map(({ ended: { data } }) => [data['outcome'], data['reason']]);
    expect(ended).toEqual(Object.values(ends).map(([, reason]) => ['failed', reason]));
  },
);
