import type { Clock } from '../base/clock.ts';
import { parseJsonObject } from '../base/json.ts';
import { Secret } from '../base/secret.ts';
import type { ProviderCredentials } from '../credentials/provider-credentials.ts';
import type { Credential, Executor } from '../kit/executor.ts';
import { DaemonError } from '../protocol/errors.ts';
import { invalidField } from '../protocol/invalid-params.ts';
import { PaymentMode, type CredentialRef } from '../protocol/payment.ts';
import type { Store } from '../store/store.ts';
import { secretsOf } from './credential-secrets.ts';
import type { Refreshed, RefreshedCredentials } from './refreshed-credentials.ts';

/** What the computer can show a provider: given; given to an earlier daemon and not yet to this one; taken back; never given. */
export type Found =
  | { readonly state: 'ready'; readonly credential: Credential; readonly lease?: string }
  | { readonly state: 'awaited' | 'cleared' | 'none' };

interface Given extends Pick<Credential, 'value' | 'isFile'> {
  readonly secrets: readonly Secret[];
}

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
  /** Each that was ever given: whether it still is. */
  readonly #known: Map<string, 'given' | 'cleared'>;
  /** Which turn uses a credential file: two at once would refresh it from under each other. */
  readonly #leases = new Map<string, string>();

  constructor(options: CredentialsOptions) {
    this.#options = options;
    const known = options.store.givenCredentials();
    this.#known = new Map(known.map(({ key, isCleared }) => [key, isCleared ? 'cleared' : 'given']));
    for (const { value, at, ...ref } of options.refreshed.list()) {
      const isCurrent = known.some(({ key, givenAt, isCleared }) => key === keyOf(ref) && !isCleared && givenAt < at);
      if (isCurrent) this.#hold(keyOf(ref), { value, isFile: true });
    }
  }

  /** Every value that may not be told. */
  get all(): readonly Secret[] {
    return [...this.#options.own.all, ...[...this.#given.values()].flatMap(({ secrets }) => secrets)];
  }

  /** The one way to a credential: of (executor, mode), and with `oauth` of the member, never of another. */
  find(ref: CredentialRef): Found {
    const key = keyOf(ref);
    const given = this.#given.get(key);
    if (given) {
      const { value, isFile } = given;
      const credential = { mode: ref.mode, value, ...(isFile && { isFile }) };
      return { state: 'ready', credential, ...(isFile && { lease: key }) };
    }
    const known = this.#known.get(key);
    if (known === 'given') return { state: 'awaited' };
    const isAnybodys = ref.mode !== 'oauth' || ref.member === undefined;
    const own = isAnybodys ? this.#options.own.of(ref.executor, ref.mode) : undefined;
    if (own) return { state: 'ready', credential: own };
    return { state: known ?? 'none' };
  }

  /** Those that the control plane gave, by name. */
  list(): (CredentialRef & { state: 'ready' | 'awaited' })[] {
    return [...this.#known]
      .filter(([, state]) => state === 'given')
      .map(([key]) => ({ ...refOf(key), state: this.#given.has(key) ? 'ready' : 'awaited' }));
  }

  /** Whether any was ever there for the executor, whoever's it is or was. */
  hasAny({ id, modes }: Executor): boolean {
    return (
      [...this.#known.keys()].some((key) => refOf(key).executor === id) ||
      modes.some((mode) => this.#options.own.of(id, mode) !== undefined)
    );
  }

  /** Resolves when it is durable that there is one; its value is nowhere but in memory. */
  async set({ value, isFile, ...ref }: CredentialRef & { value: string; isFile: boolean }): Promise<void> {
    const definition = this.#check(ref);
    if (isFile && (ref.mode !== 'oauth' || definition.credentialFile === undefined))
      throw invalidField('isFile', `${ref.executor} cannot be given this credential as a file`);
    if (isFile && !parseJsonObject(value)) throw invalidField('value', 'is not the JSON of a credential file');
    await this.#note(ref, true);
    this.#hold(keyOf(ref), { value: new Secret(isFile ? value : value.trim()), ...(isFile && { isFile }) });
  }

  async clear(ref: CredentialRef): Promise<void> {
    this.#check(ref);
    await this.#note(ref, false);
    this.#given.delete(keyOf(ref));
  }

  /**
   * Takes what an executor made of the file `replaces` that it was given. The control plane is told in any case; it holds
   * from now on unless another was given, or it was taken back, meanwhile.
   */
  async refresh(refreshed: Refreshed, replaces: (given: string) => boolean): Promise<void> {
    await this.#options.refreshed.add(refreshed);
    const key = keyOf(refreshed);
    const current = this.#given.get(key);
    if (this.#known.get(key) !== 'given' || (current && !replaces(current.value.open()))) return;
    this.#hold(key, { value: refreshed.value, isFile: true });
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

  #hold(key: string, given: Pick<Given, 'value' | 'isFile'>): void {
    this.#given.set(key, { ...given, secrets: secretsOf(given) });
  }

  async #note(ref: CredentialRef, isGiven: boolean): Promise<void> {
    const { store, clock } = this.#options;
    const key = keyOf(ref);
    const events = [{ type: 'credential.changed', data: { ...ref, given: isGiven } }] as const;
    await store.write('noteCredential', { key, isGiven, events, at: clock.now() });
    if (isGiven || this.#known.has(key)) this.#known.set(key, isGiven ? 'given' : 'cleared');
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
