import type { Clock } from '../base/clock.ts';
import { Secret } from '../base/secret.ts';
import type { ProviderCredentials } from '../credentials/provider-credentials.ts';
import type { Credential, Executor } from '../kit/executor.ts';
import { DaemonError } from '../protocol/errors.ts';
import { invalidField } from '../protocol/invalid-params.ts';
import { PaymentMode, type CredentialRef } from '../protocol/payment.ts';
import type { Store } from '../store/store.ts';
import type { Refreshed, RefreshedCredentials } from './refreshed-credentials.ts';

/** What the computer can show a provider: given, given to an earlier daemon and not yet to this one, or never given. */
export type Found =
  | { readonly state: 'ready'; readonly credential: Credential; readonly lease?: string }
  | { readonly state: 'awaited' | 'none' };

type Given = Pick<Credential, 'value' | 'isFile'>;

interface CredentialsOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly executors: readonly Executor[];
  /** The computer's own: used where the control plane gave none. */
  readonly own: ProviderCredentials;
  readonly refreshed: RefreshedCredentials;
}

/**
 * The credentials that turns run with. OAuth ones are a member's, all others the organisation's. Their values are in memory
 * only; that one was given is kept, so that after a restart its turns wait for it and are not paid in another way.
 */
export class Credentials {
  readonly #options: CredentialsOptions;
  readonly #given = new Map<string, Given>();
  readonly #known: Set<string>;
  /** Which turn uses a credential file: two at once would refresh it from under each other. */
  readonly #leases = new Map<string, string>();

  constructor(options: CredentialsOptions) {
    this.#options = options;
    this.#known = new Set(options.store.givenCredentials());
    for (const { value, ...ref } of options.refreshed.list()) this.#given.set(keyOf(ref), { value, isFile: true });
  }

  /** Every value that may not be told. */
  get all(): readonly Secret[] {
    return [...this.#options.own.all, ...[...this.#given.values()].flatMap(secretsOf)];
  }

  /** The one way to a credential: of (executor, mode), and with `oauth` of the member, never of another. */
  find(ref: CredentialRef): Found {
    const key = keyOf(ref);
    const given = this.#given.get(key);
    if (given) {
      const credential = { mode: ref.mode, ...given };
      return { state: 'ready', credential, ...(given.isFile && { lease: key }) };
    }
    if (this.#known.has(key)) return { state: 'awaited' };
    const own =
      ref.member === undefined || ref.mode !== 'oauth' ? this.#options.own.of(ref.executor, ref.mode) : undefined;
    return own ? { state: 'ready', credential: own } : { state: 'none' };
  }

  /** Resolves when it is durable that there is one; its value is nowhere but in memory. */
  async set({ value, isFile, ...ref }: CredentialRef & { value: string; isFile: boolean }): Promise<void> {
    const definition = this.#check(ref);
    if (isFile && (ref.mode !== 'oauth' || definition.credentialFile === undefined))
      throw invalidField('isFile', `${ref.executor} cannot be given this credential as a file`);
    if (isFile && !isJson(value)) throw invalidField('value', 'is not the JSON of a credential file');
    await this.#note(ref, true);
    this.#given.set(keyOf(ref), { value: new Secret(value), ...(isFile && { isFile }) });
  }

  async clear(ref: CredentialRef): Promise<void> {
    this.#check(ref);
    await this.#note(ref, false);
    this.#given.delete(keyOf(ref));
  }

  /** Takes what an executor made of the file that it was given. It holds from now on. */
  async refresh(refreshed: Refreshed): Promise<void> {
    await this.#options.refreshed.add(refreshed);
    this.#given.set(keyOf(refreshed), { value: refreshed.value, isFile: true });
  }

  /** Those that the control plane gave, by name. */
  list(): (CredentialRef & { state: 'ready' | 'awaited' })[] {
    return [...new Set([...this.#known, ...this.#given.keys()])]
      .sort()
      .map((key) => ({ ...refOf(key), state: this.#given.has(key) ? 'ready' : 'awaited' }));
  }

  /** Whether any was ever given for the executor, whoever's it is. */
  hasAny(executor: string): boolean {
    return [...this.#known, ...this.#given.keys()].some((key) => refOf(key).executor === executor);
  }

  refreshed(): readonly Refreshed[] {
    return this.#options.refreshed.list();
  }

  /** Whether it waited. */
  acknowledge(refreshId: string): Promise<boolean> {
    return this.#options.refreshed.remove(refreshId);
  }

  /** Whether another turn uses the credential file. */
  isLeased(lease: string, turnId: string): boolean {
    return (this.#leases.get(lease) ?? turnId) !== turnId;
  }

  lease(lease: string, turnId: string): void {
    this.#leases.set(lease, turnId);
  }

  release(turnId: string): void {
    for (const [lease, holder] of this.#leases) if (holder === turnId) this.#leases.delete(lease);
  }

  async #note(ref: CredentialRef, isGiven: boolean): Promise<void> {
    const { store, clock } = this.#options;
    const key = keyOf(ref);
    const events = [{ type: 'credential.changed', data: { ...ref, given: isGiven } }] as const;
    await store.write('noteCredential', { key, isGiven, events, at: clock.now() });
    if (isGiven) this.#known.add(key);
    else this.#known.delete(key);
  }

  #check({ executor, mode, member }: CredentialRef): Executor {
    const definition = this.#options.executors.find(({ id }) => id === executor);
    if (!definition) throw new DaemonError('executor_unknown', `no executor ${executor}`);
    if (!definition.modes.includes(mode))
      throw invalidField('mode', `${executor} can be paid by: ${definition.modes.join(', ')}`);
    if (mode === 'oauth' && member === undefined)
      throw invalidField('member', 'an OAuth credential is a member’s: name them');
    if (mode !== 'oauth' && member !== undefined)
      throw invalidField('member', `a credential for ${mode} is the organisation’s`);
    return definition;
  }
}

/** The names under which it is kept that a credential was given. Only OAuth credentials are a member's. */
function keyOf({ executor, mode, member }: CredentialRef): string {
  return mode === 'oauth' ? `${executor}/oauth/${member ?? ''}` : `${executor}/${mode}`;
}

function refOf(key: string): CredentialRef {
  const [executor = '', mode, member] = key.split('/');
  return { executor, mode: PaymentMode.parse(mode), ...(member && { member }) };
}

/** What must not be told of a credential: all of it, and of a file each token in it. */
export function secretsOf({ value, isFile }: Given): Secret[] {
  return isFile ? [value, ...tokensIn(JSON.parse(value.open()))] : [value];
}

function tokensIn(json: unknown): Secret[] {
  if (typeof json !== 'object' || json === null) return [];
  return Object.entries(json).flatMap(([name, inner]: [string, unknown]) =>
    typeof inner === 'string' ? (/token|secret|key/i.test(name) ? [new Secret(inner)] : []) : tokensIn(inner),
  );
}

function isJson(text: string): boolean {
  try {
    return typeof JSON.parse(text) === 'object';
  } catch {
    return false;
  }
}
