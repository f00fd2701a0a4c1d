import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ParamsIn } from '../../src/protocol/methods.ts';
import { answeringProvider, type Provider } from './answering-provider.ts';
import { modelRequests, prepareDaemon, type ModelRequest, type TestDaemon } from './daemon.ts';

/* Turns of the installed Gemini CLI, for its tests. */

export type Run = Awaited<ReturnType<TestDaemon['run']>>;
type LoggedRequest = ModelRequest & { readonly lastUserText?: string; readonly toolCalls?: number };

export function run(daemon: TestDaemon, params: ParamsIn<'task.create'>): Promise<Run> {
  return daemon.run({ executor: 'gemini', ...params });
}

/** What the offline model was asked on behalf of a prompt: the CLI does not name its conversation. */
export async function asked(daemon: TestDaemon, prompt: string): Promise<LoggedRequest[]> {
  const requests = (await modelRequests(daemon)) as LoggedRequest[];
  return requests.filter(({ path, lastUserText }) => path !== undefined && lastUserText === prompt.slice(0, 200));
}

/** A daemon with a credential of its own for Gemini CLI, and the address that it is for. */
export async function withKey({
  url,
  ...key
}: { readonly url: string } & Readonly<Record<string, string>>): Promise<TestDaemon> {
  const daemon = await prepareDaemon();
  const file = join(daemon.dir, 'credentials.json');
  await writeFile(file, JSON.stringify({ gemini: { ...key, GOOGLE_GEMINI_BASE_URL: url } }), { mode: 0o600 });
  await daemon.start({ flags: { 'credentials-file': file } });
  return daemon;
}

/** A provider that has nothing but errors. */
export function failingProvider(code: number): Promise<Provider> {
  const body = JSON.stringify({ error: { code, message: 'never', status: 'INTERNAL' } });
  return answeringProvider(() => ({ status: code, body }));
}

/** An address at which nobody listens. */
export async function nowhere(): Promise<Provider> {
  await using closed = await failingProvider(500);
  return { url: closed.url, [Symbol.asyncDispose]: async () => {} };
}
