import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { answeringProvider } from './support/answering-provider.ts';
import { startDaemon, type TestDaemon } from './support/daemon.ts';
import { asked, failingProvider, nowhere, run, withKey, type Run } from './support/gemini.ts';
import { by, processesOf, startOf, texts } from './support/turns.ts';

/* The installed Gemini CLI, run by a real daemon, before a provider that fails. */

interface Row {
  readonly name: string;
  readonly prompt: string;
  readonly reason: string;
  readonly evidence: object;
  /** Beside the one that asks which model to take. */
  readonly requests: number;
}
const status = (code: number, reason: string, requests: number, more = ''): Row => ({
  name: `${code}${more}`,
  prompt: `{{status: ${code}${more}}}`,
  reason,
  evidence: { httpStatus: code },
  requests,
});

describe('a provider that fails', { timeout: 90_000 }, () => {
  const rows: readonly Row[] = [
    status(429, 'rate_limited', 2, ', retry-after 12'), // the slowest first
    status(429, 'rate_limited', 2),
    status(500, 'provider_error', 2),
    status(529, 'provider_error', 2),
    {
      name: 'a dropped connection',
      prompt: '{{drop}}',
      reason: 'provider_unreachable',
      evidence: { exitCode: 1 },
      requests: 2,
    },
    status(400, 'invalid_request', 1),
    status(401, 'auth', 1),
    status(402, 'billing', 1),
    status(403, 'auth', 1),
    status(404, 'model_not_found', 1),
    {
      name: 'a stream cut',
      prompt: '{{say: Half of it.}} {{cut}}',
      reason: 'stream_cut',
      evidence: { exitCode: 1 },
      requests: 1,
    },
    { name: 'a stream cut in its middle', prompt: '{{cut}}', reason: 'stream_cut', evidence: {}, requests: 1 },
    {
      name: 'a stream that ends early',
      prompt: '{{say: Half of it.}} {{early-end}}',
      reason: 'stream_cut',
      evidence: { exitCode: 0 },
      requests: 2,
    },
  ];
  let daemon: TestDaemon;
  let runs: Map<string, Promise<Run>>;
  beforeAll(async () => {
    daemon = await startDaemon(by('gemini', { 'turn-concurrency': 4 }));
    runs = new Map(rows.map(({ name, prompt }) => [name, run(daemon, { prompt })]));
    for (const each of runs.values()) each.catch(() => undefined); // its test tells
  });
  afterAll(() => daemon[Symbol.asyncDispose]());

  test.for(rows.toReversed())(
    '[P3.2] with $name ends the turn in time, as $reason, with evidence',
    async ({ name, prompt, reason, evidence, requests }) => {
      const { events, ended, turnId } = (await runs.get(name))!;
      expect(ended.data).toMatchObject({
        outcome: 'failed',
        reason,
        evidence: { saidResult: true, message: expect.stringMatching(/./) as unknown, ...evidence },
      });
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
      expect(await asked(daemon, prompt)).toHaveLength(1 + requests);
      expect(events.filter(({ type }) => type === 'executor.unparsed')).toEqual([]);
      expect(await processesOf(turnId)).toEqual([]);
    },
  );

  test('[P3.2] once only is overcome', async () => {
    const overcome = await Promise.all(
      ['{{status: 529, once}}', '{{drop: once}}', '{{early-end: once}}'].map((fault) =>
        run(daemon, { prompt: `${fault} {{run: true}} {{say: Recovered.}}` }),
      ),
    );
    for (const { events, ended } of overcome) {
      expect(ended.data['outcome']).toBe('succeeded');
      expect(texts(events).at(-1)).toBe('Recovered.');
    }
  });
});

test(
  '[P3.2] a provider that refuses, says no more than it may, or is not paid, ends the turn as that',
  { timeout: 60_000 },
  async () => {
    const finished = (finishReason: string) => ({
      body: `data: ${JSON.stringify({ candidates: [{ content: { role: 'model', parts: [{ text: '' }] }, finishReason }] })}\n\n`,
    });
    const broke = { code: 429, message: 'Your prepayment credits are depleted.', status: 'RESOURCE_EXHAUSTED' };
    await using provider = await answeringProvider(({ body: request }) => {
      if (request.includes('unpaid')) return { status: 429, body: JSON.stringify({ error: broke }) };
      return finished(request.includes('unsafe') ? 'SAFETY' : 'MAX_TOKENS');
    });
    await using daemon = await withKey({ GEMINI_API_KEY: 'key-that-nobody-hears-of', url: provider.url });
    const runs = await Promise.all(['unsafe', 'long', 'unpaid'].map((prompt) => run(daemon, { prompt })));
    expect(runs.map(({ ended: { data } }) => [data['outcome'], data['reason']])).toEqual([
      ['failed', 'refused'],
      ['failed', 'too_long'],
      ['failed', 'billing'],
    ]);
  },
);

describe('a provider that does nothing else', { timeout: 60_000 }, () => {
  test('[P3.2] [P3.4] than to say nothing, or nothing more, is left after the idle time', async () => {
    await using daemon = await startDaemon(by('gemini', { 'turn-idle-ms': 4000 }));
    const prompts = ['{{hang}}', '{{say: words}} {{stall}}'];
    const [hang, stall] = await Promise.all(prompts.map((prompt) => run(daemon, { prompt })));
    for (const { ended, events, turnId } of [hang!, stall!]) {
      const evidence = { exitCode: 0, signal: null, saidResult: false };
      expect(ended.data).toMatchObject({ outcome: 'timed_out', reason: 'idle', evidence });
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(20_000);
    }
    const delta = { type: 'message.delta', data: { text: 'words', messageId: '1' } };
    expect(stall!.events).toContainEqual(expect.objectContaining(delta));
  });

  test.for(['refused', 'failed'] as const)(
    '[P3.2] than to have every request %s ends the turn in time',
    async (how) => {
      await using provider = how === 'failed' ? await failingProvider(500) : await nowhere();
      await using daemon = await withKey({ GEMINI_API_KEY: 'key-that-nobody-hears-of', url: provider.url });
      const { events, ended, turnId } = await run(daemon, { prompt: 'hello' });
      expect(ended.data).toMatchObject(
        how === 'failed'
          ? { outcome: 'failed', reason: 'provider_error', evidence: { httpStatus: 500 } }
          : { outcome: 'failed', reason: 'provider_unreachable', evidence: { exitCode: 1 } },
      );
      expect(ended.at - startOf(events, turnId).at).toBeLessThan(30_000);
    },
  );
});
