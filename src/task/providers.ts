import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { Secret } from '../base/secret.ts';
import type { ProviderCredentials } from '../credentials/provider-credentials.ts';
import type { Executor } from '../kit/executor.ts';
import { findOrStartCompanion } from '../process/companion.ts';
import { isAlive } from '../process/identity.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { Provider } from './turn-services.ts';

interface ProvidersOptions {
  readonly credentials: ProviderCredentials;
  readonly offlineModel: 'off' | 'auto';
  readonly stateDir: string;
  readonly signal: AbortSignal;
}

const Presence = z.object({ pid: z.int(), startTime: z.string(), url: z.string() });
const startMs = 15_000;
const mainPath = fileURLToPath(new URL('../offline-model/main.ts', import.meta.url));

/** Who answers an executor: the provider that a credential is configured for, else, if allowed, the scripted model. */
export class Providers {
  readonly #options: ProvidersOptions;
  readonly #dir: string;
  readonly #token = new Secret(`om_${randomBytes(16).toString('hex')}`);
  #starting: Promise<Provider> | undefined;

  constructor(options: ProvidersOptions) {
    this.#options = options;
    this.#dir = join(options.stateDir, 'offline-model');
  }

  async of({ id, credentialVariables }: Executor): Promise<Provider> {
    const credential = this.#options.credentials.of(id);
    if (credential) return { kind: 'configured', credential };
    if (this.#options.offlineModel === 'auto') {
      this.#starting ??= this.#findOffline().finally(() => (this.#starting = undefined));
      return this.#starting;
    }
    const names = Object.values(credentialVariables).join(' or ');
    throw new DaemonError(
      'credentials_required',
      `no credential for ${id}: set ${names} where the daemon starts or name a credentials.file, or try it with --offline-model auto`,
    );
  }

  /** Ends the scripted model, if it runs. */
  async endOffline(): Promise<void> {
    const presence = await this.#presence();
    if (presence && isAlive(presence)) process.kill(presence.pid, 'SIGTERM');
  }

  async #findOffline(): Promise<Provider> {
    const { stateDir, signal } = this.#options;
    const { url } = await findOrStartCompanion({
      name: 'The offline model',
      dir: this.#dir,
      argv: [process.execPath, mainPath, '--dir', this.#dir],
      env: { NODE_COMPILE_CACHE: join(stateDir, 'compile-cache') },
      ready: () => this.#presence(),
      timeoutMs: startMs,
      logFile: join(stateDir, 'logs', 'offline-model.log'),
      signal,
    });
    return { kind: 'offline', credential: { mode: 'credits', value: this.#token, baseUrl: url } };
  }

  async #presence(): Promise<z.infer<typeof Presence> | null> {
    const text = await readFile(join(this.#dir, 'offline-model.json'), 'utf8').catch(() => 'null'); // none: it does not run
    return Presence.nullable().catch(null).parse(JSON.parse(text));
  }
}
