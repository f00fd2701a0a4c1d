/**
 * What was asked and how it ended, in two lines per request: the first is written before any answer begins, the second at its
 * end. The last lines stay in memory; all of them go to the file, when there is one. Credentials appear only as hashes.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';

export type Outcome =
  | 'finished'
  | 'client_closed'
  | 'failed'
  | 'cut'
  | 'early_end'
  | 'dropped'
  /** This process was told to leave. */
  | 'stopped';

export interface Line {
  /** Counts the lines of this process, from 1. */
  readonly n: number;
  readonly time: string;
  readonly [field: string]: unknown;
}

const maxLinesKept = 10_000;

export class RequestLog implements Disposable {
  #lines: Line[] = [];
  #count = 0;
  #file: number | undefined;

  constructor(path?: string) {
    if (path !== undefined) this.#file = openSync(path, 'a', 0o600);
  }

  add(fields: Readonly<Record<string, unknown>>): void {
    this.#count += 1;
    const line = { n: this.#count, time: new Date().toISOString(), ...fields };
    this.#lines.push(line);
    // Cut in halves, so that the cost of dropping old lines is spread.
    if (this.#lines.length > 2 * maxLinesKept) this.#lines = this.#lines.slice(-maxLinesKept);
    if (this.#file === undefined) return;
    try {
      writeSync(this.#file, `${JSON.stringify(line)}\n`);
    } catch (error) {
      // A log that cannot be written must not end the model: lines stay readable over HTTP.
      process.stderr.write(`offline model: the log cannot be written: ${String(error)}\n`);
    }
  }

  after(n: number): Line[] {
    return this.#lines.filter((line) => line.n > n).slice(-maxLinesKept);
  }

  get count(): number {
    return this.#count;
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

/** Which kinds of credential came with a request, and a short hash of each, by which tests tell them apart. */
export function describeCredentials(headers: IncomingHttpHeaders): {
  auth: string;
  credentials: Record<string, string>;
} {
  const credentials: Record<string, string> = {};
  const bearer = /^Bearer\s+(.+)$/i.exec(headers.authorization ?? '')?.[1];
  if (bearer !== undefined) credentials['bearer'] = digest(bearer, 12);
  for (const name of ['x-api-key', 'x-goog-api-key']) {
    const key = headers[name];
    if (typeof key === 'string') credentials[name] = digest(key, 12);
  }
  const kinds = Object.keys(credentials);
  return { auth: kinds.length > 1 ? 'both' : (kinds[0] ?? 'none'), credentials };
}

/** Headers by which CLIs name their conversation: Claude Code, codex, opencode; the last one is also for others to add. */
const sessionHeaders = ['x-claude-code-session-id', 'session-id', 'x-session-id'];

export function sessionIn(headers: IncomingHttpHeaders): string | undefined {
  return sessionHeaders.map((name) => headers[name]).find((value) => typeof value === 'string');
}

export function digest(data: string | Uint8Array, length: number): string {
  return createHash('sha256').update(data).digest('hex').slice(0, length);
}
