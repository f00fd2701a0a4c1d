import type { Credential, Executor } from '../kit/executor.ts';
import type { Model } from '../kit/model.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { ExecutorPolicy } from '../protocol/policy.ts';
import type { CredentialRef, ModelProvider, PaymentMode } from '../protocol/payment.ts';
import type { Credentials, Found } from './credentials.ts';
import type { Policies } from './policies.ts';

/** What a turn asks for. */
export interface Application {
  readonly executor: Executor;
  /** By its id; default: the executor's default. */
  readonly model?: string | undefined;
  readonly member?: string | undefined;
  /** A credential that came with the turn, for it alone. */
  readonly credential?: Credential | undefined;
}

/** Who pays, and by what. */
export type Payment =
  | {
      readonly kind: 'configured';
      readonly mode: PaymentMode;
      readonly credential: Credential;
      readonly lease?: string;
    }
  /** The scripted model stands in for a provider: no credential was ever given. */
  | { readonly kind: 'offline'; readonly mode: 'credits' }
  /** The credential was given to an earlier daemon: the control plane gives it again. */
  | { readonly kind: 'awaited'; readonly mode: PaymentMode };

export interface Admitted {
  readonly model: Model;
  readonly payment: Payment;
  /** Why it is paid in another way than the policy says. */
  readonly fallback?: string;
}

export interface ModelChoice {
  readonly mode: PaymentMode;
  readonly models: readonly { readonly model: Model; readonly isEnabled: boolean }[];
}

interface AdmissionOptions {
  readonly policies: Policies;
  readonly credentials: Credentials;
  readonly isOfflineAllowed: boolean;
  /** Another address than the vendor's own, for turns that go there directly. */
  readonly directBaseUrl: (provider: ModelProvider | undefined, mode: PaymentMode) => string | undefined;
}

type There = Extract<Found, { state: 'ready' | 'awaited' }>;
type Resolved = { readonly mode: PaymentMode; readonly found: There; readonly fallback?: string };

/** Whether a turn may run, with which model, and who pays: asked when it is made and again when it starts. */
export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** The way of paying comes first, the model is checked against it. Throws what the policy or a missing credential forbids. */
  admit(application: Application): Admitted {
    const { executor } = application;
    const policy = this.#options.policies.of(executor.id);
    if (!policy.enabled)
      throw new DaemonError('executor_disabled', `the organisation’s policy does not allow ${executor.id}`);
    const { payment, fallback } = this.#payment(application, policy);
    const model = this.#model(application, policy, payment.mode);
    return { model, payment, ...(fallback !== undefined && { fallback }) };
  }

  /** The models of an executor by each way of paying, whether or not a credential is there. */
  choices(executor: Executor): readonly ModelChoice[] {
    const { disabledModels } = this.#options.policies.of(executor.id);
    return executor.modes.map((mode) => ({
      mode,
      models: this.#modelsFor(executor, mode).map((model) => ({
        model,
        isEnabled: !disabledModels.includes(model.id),
      })),
    }));
  }

  /** The way in which a turn of nobody in particular would be paid now. */
  effectiveMode(executor: Executor): PaymentMode | undefined {
    try {
      return this.#payment({ executor }, this.#options.policies.of(executor.id)).payment.mode;
    } catch (error) {
      if (error instanceof DaemonError && error.code === 'credentials_required') return undefined;
      throw error;
    }
  }

  #payment(
    { executor, member, credential }: Application,
    policy: ExecutorPolicy,
  ): { payment: Payment; fallback?: string } {
    if (credential) {
      this.#checkOwn(executor, credential, policy);
      return {
        payment: {
          kind: 'configured',
          mode: credential.mode,
          credential: this.#addressed(executor, policy, credential),
        },
      };
    }
    const { authMethod } = policy;
    const resolved =
      authMethod === undefined ? this.#whichever(executor, member) : this.#asRuled(executor, authMethod, member);
    if (!resolved) return { payment: { kind: 'offline', mode: 'credits' } };
    const { mode, found, fallback } = resolved;
    if (found.state !== 'ready') return { payment: { kind: 'awaited', mode }, ...(fallback && { fallback }) };
    const { lease } = found;
    const addressed = this.#addressed(executor, policy, found.credential);
    return {
      payment: { kind: 'configured', mode, credential: addressed, ...(lease && { lease }) },
      ...(fallback && { fallback }),
    };
  }

  /** A turn's own credential is no way around the policy. */
  #checkOwn(executor: Executor, { mode }: Credential, { authMethod }: ExecutorPolicy): void {
    if (!executor.modes.includes(mode))
      throw new DaemonError('auth_not_allowed', `${executor.id} can be paid by: ${executor.modes.join(', ')}`);
    if (authMethod !== undefined && authMethod !== mode)
      throw new DaemonError('auth_not_allowed', `the organisation’s policy pays ${executor.id} by ${authMethod} only`);
  }

  /** No rule: what was given decides. Nothing was ever given: the scripted model, where it may. */
  #whichever(executor: Executor, member: string | undefined): Resolved | undefined {
    for (const mode of ['api_key', 'credits', 'oauth'] as const) {
      if (!executor.modes.includes(mode)) continue;
      const found = this.#options.credentials.find(refOf(executor, mode, member));
      if (isThere(found)) return { mode, found };
    }
    if (this.#options.credentials.hasAny(executor)) {
      const whose = member === undefined ? '' : ` of ${member}`;
      throw new DaemonError(
        'credentials_required',
        `no credential${whose} for ${executor.id} is there, though some was: give it with credential.set`,
      );
    }
    if (this.#options.isOfflineAllowed) return undefined;
    const names = Object.values(executor.credentialVariables).join(' or ');
    throw new DaemonError(
      'credentials_required',
      `no credential for ${executor.id}: give one with credential.set, set ${names} where the daemon starts, name a credentials.file, or try it with --offline-model auto`,
    );
  }

  /** The rule holds. The one exception: a key that was never given, for which the organisation’s credits stand in. */
  #asRuled(executor: Executor, mode: PaymentMode, member: string | undefined): Resolved {
    const found = this.#options.credentials.find(refOf(executor, mode, member));
    if (isThere(found)) return { mode, found };
    if (mode === 'api_key' && found.state === 'none' && executor.modes.includes('credits')) {
      const credits = this.#options.credentials.find(refOf(executor, 'credits', member));
      const fallback = `no api_key was ever configured for ${executor.id}: this turn is paid by credits`;
      if (isThere(credits)) return { mode: 'credits', found: credits, fallback };
    }
    const whose =
      mode === 'oauth'
        ? member === undefined
          ? 'a turn that names no member'
          : `the member ${member}`
        : 'the organisation';
    throw new DaemonError(
      'credentials_required',
      `the policy pays ${executor.id} by ${mode}, and ${whose} has no such credential: give it with credential.set`,
    );
  }

  /** Where the credential is good: shown elsewhere it would be given away. */
  #addressed(executor: Executor, policy: ExecutorPolicy, credential: Credential): Credential {
    const { mode } = credential;
    const baseUrl =
      credential.baseUrl ??
      (mode === 'credits' ? policy.proxy?.baseUrl : this.#options.directBaseUrl(executor.provider, mode));
    if (mode === 'credits' && baseUrl === undefined)
      throw new DaemonError(
        'credentials_required',
        `the address of the model proxy for ${executor.id} is missing: policy.set executors.${executor.id}.proxy.baseUrl`,
      );
    return { ...credential, ...(baseUrl !== undefined && { baseUrl }) };
  }

  #model({ executor, model: asked }: Application, { disabledModels }: ExecutorPolicy, mode: PaymentMode): Model {
    const id = asked ?? executor.defaultModel;
    const offered = this.#modelsFor(executor, mode);
    const allowed = offered.filter((model) => !disabledModels.includes(model.id)).map((model) => model.id);
    const model = offered.find((known) => known.id === id);
    const list = allowed.length === 0 ? 'none is allowed' : `allowed: ${allowed.join(', ')}`;
    const data = { executor: executor.id, mode, model: id, allowed };
    if (!model)
      throw new DaemonError('model_not_allowed', `${id} is no model for ${executor.id} paid by ${mode}; ${list}`, {
        data,
      });
    if (!allowed.includes(id))
      throw new DaemonError(
        'model_disabled',
        `the organisation’s policy does not allow ${asked === undefined ? `${id}, the default of ${executor.id}` : id}; ${list}`,
        { data },
      );
    return model;
  }

  /** A proxy reaches every provider; with a key or a subscription of one's own there are only its vendor's models. */
  #modelsFor(executor: Executor, mode: PaymentMode): readonly Model[] {
    const all = this.#options.policies.modelsOf(executor.id);
    return mode === 'credits' ? all : all.filter(({ provider }) => provider === executor.provider);
  }
}

function refOf(executor: Executor, mode: PaymentMode, member: string | undefined): CredentialRef {
  return { executor: executor.id, mode, ...(mode === 'oauth' && { member }) };
}

function isThere(found: Found): found is There {
  return found.state === 'ready' || found.state === 'awaited';
}
