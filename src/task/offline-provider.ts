import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { Secret } from '../base/secret.ts';
import type { Credential } from '../kit/executor.ts';
import { findOrStartCompanion } from '../process/companion.ts';
import { isAlive } from '../process/identity.ts';

const Presence = z.object({ pid: z.int(), startTime: z.string(), url: z.string() });
const startMs = 15_000;
const mainPath = fileURLToPath(new URL('../offline-model/main.ts', import.meta.url));

/** The scripted model, in a process of its own: found, or started when it is first needed. */
export class OfflineProvider {
  readonly #stateDir: string;
  readonly #signal: AbortSignal;
  readonly #dir: string;
  readonly #token = new Secret(`om_${randomBytes(16).toString('hex')}`);
  #starting: Promise<Credential> | undefined;

  constructor({ stateDir, signal }: { stateDir: string; signal: AbortSignal }) {
    this.#stateDir = stateDir;
    this.#signal = signal;
    this.#dir = join(stateDir, 'offline-model');
  }

  credential(): Promise<Credential> {
    this.#starting ??= this.#find().finally(() => (this.#starting = undefined));
    return this.#starting;
  }

  /** Ends it, if it runs. */
  async end(): Promise<void> {
    const presence = await this.#presence();
    if (presence && isAlive(presence)) process.kill(presence.pid, 'SIGTERM');
  }

  async #find(): Promise<Credential> {
    const { url } = await findOrStartCompanion({
      name: 'The offline model',
      dir: this.#dir,
      argv: [process.execPath, mainPath, '--dir', this.#dir],
      env: { NODE_COMPILE_CACHE: join(this.#stateDir, 'compile-cache') },
      ready: () => this.#presence(),
      timeoutMs: startMs,
      logFile: join(this.#stateDir, 'logs', 'offline-model.log'),
      signal: this.#signal,
    });
    return { mode: 'credits', value: this.#token, baseUrl: url };
  }

  async #presence(): Promise<z.infer<typeof Presence> | null> {
    const text = await readFile(join(this.#dir, 'offline-model.json'), 'utf8').catch(() => 'null'); // none: it does not run
    return Presence.nullable().catch(null).parse(JSON.parse(text));
  }
}
