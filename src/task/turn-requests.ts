import { randomUUID } from 'node:crypto';
import { bodyMac } from '../base/body-mac.ts';
import { Mask } from '../base/mask.ts';
import type { Secret } from '../base/secret.ts';
import type { Executor } from '../kit/executor.ts';
import { TurnId } from '../protocol/ids.ts';
import { invalidField } from '../protocol/invalid-params.ts';
import type { Params } from '../protocol/methods.ts';
import type { NewTurn } from '../store/rows.ts';
import { ownCredential, secretsIn } from './turn-inputs.ts';
import type { TurnServices } from './turn-services.ts';

export interface TurnRequestsOptions {
  readonly services: TurnServices;
  /** Key of the HMACs by which a retried request is known. */
  readonly macKey: Secret;
}

/** What a turn is given, whichever method makes it. */
export type Given = Pick<Params<'task.create'>, 'prompt' | 'member' | 'env' | 'auth' | 'timeoutMs'>;

interface TurnRequest {
  readonly requestId: string | null;
  /** The whole request, to tell a retry from another request. */
  readonly body: object;
  readonly definition: Executor;
  readonly model: string | undefined;
  /** It was answered before, and is answered in the same way. */
  readonly isRetry: boolean;
  readonly given: Given;
}

/** From a request to the turn that is to be recorded. */
export class TurnRequests {
  readonly #options: TurnRequestsOptions;

  constructor(options: TurnRequestsOptions) {
    this.#options = options;
  }

  /** Throws what the policy or a missing credential forbids. */
  newTurn({ requestId, body, definition, model, isRetry, given }: TurnRequest): NewTurn {
    const { member, timeoutMs } = given;
    return {
      id: TurnId.parse(randomUUID()),
      requestId,
      bodyMac: bodyMac(this.#options.macKey, body),
      executor: definition.id,
      model: isRetry ? definition.defaultModel : this.#admittedModel(definition, model, given),
      member: member ?? null,
      timeoutMs: timeoutMs ?? null,
    };
  }

  /** The event that tells of it; known secrets are masked in the prompt. */
  queued({ executor, model }: NewTurn, given: Given) {
    const { secrets, credentials } = this.#options.services;
    const mask = new Mask([...secrets, ...credentials.all, ...secretsIn(given)].map((secret) => secret.open()));
    return { type: 'turn.queued', data: { prompt: mask.text(given.prompt), executor, model } } as const;
  }

  #admittedModel(executor: Executor, model: string | undefined, given: Given): string {
    const steering = Object.keys(given.env ?? {}).find((name) => isSteering(executor, name));
    if (steering !== undefined) {
      throw invalidField(
        `env.${steering}`,
        `steers ${executor.title} itself: who pays, and with which model, is said by auth, model and the policy`,
      );
    }
    const { admission } = this.#options.services;
    return admission.admit({ executor, model, member: given.member, credential: ownCredential(given) }).model.id;
  }
}

/** A second credential beside the one that pays would win over it in some CLIs, go along with it in others. */
function isSteering({ steeredBy, credentialVariables, baseUrlVariable }: Executor, name: string): boolean {
  return (
    [...Object.values(credentialVariables), baseUrlVariable].includes(name) ||
    steeredBy.some((beginning) => name.startsWith(beginning))
  );
}
