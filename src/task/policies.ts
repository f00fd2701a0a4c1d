import type { Clock } from '../base/clock.ts';
import type { Executor } from '../kit/executor.ts';
import type { Model } from '../kit/model.ts';
import { invalidField } from '../protocol/invalid-params.ts';
import { Policy, type ExecutorPolicy } from '../protocol/policy.ts';
import type { Store } from '../store/store.ts';

const key = 'policy';
const noRules: Policy = { executors: {}, models: [] };

interface PoliciesOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly executors: readonly Executor[];
  /** The models that harnessd knows by itself. */
  readonly models: readonly Model[];
}

/** The organisation's rules for this computer, as they hold now. */
export class Policies {
  readonly #options: PoliciesOptions;
  #policy: Policy;

  constructor(options: PoliciesOptions) {
    this.#options = options;
    const kept = options.store.meta(key);
    this.#policy = kept === undefined ? noRules : Policy.parse(JSON.parse(kept), { jitless: true });
  }

  get(): Policy {
    return this.#policy;
  }

  of(executor: string): ExecutorPolicy {
    return this.#policy.executors[executor] ?? { enabled: true, disabledModels: [] };
  }

  /** Replaces the whole policy. Resolves when it is durable; it holds for every turn that starts after. */
  async set(policy: Policy): Promise<void> {
    this.#check(policy);
    const { store, clock } = this.#options;
    const events = [{ type: 'policy.changed', data: {} }] as const;
    await store.write('setMeta', { key, value: JSON.stringify(policy), events, at: clock.now() });
    this.#policy = policy;
  }

  /** Every model that there is for an executor, whoever pays: the policy's own and those that it does not replace. */
  modelsOf(executor: string): readonly Model[] {
    const added: readonly Model[] = this.#policy.models;
    const known = this.#options.models.filter(({ id }) => !added.some((model) => model.id === id));
    return [...known, ...added].filter(({ executors }) => executors.includes(executor));
  }

  /** A rule for what does not exist would silently allow what it was to forbid. */
  #check(policy: Policy): void {
    const { executors } = this.#options;
    const ids = executors.map(({ id }) => id);
    const known = [...this.#options.models, ...policy.models];
    for (const [id, { authMethod, disabledModels }] of Object.entries(policy.executors)) {
      const executor = executors.find((each) => each.id === id);
      if (!executor) throw invalidField(`executors.${id}`, `no such executor; there are: ${ids.join(', ')}`);
      if (authMethod && !executor.modes.includes(authMethod))
        throw invalidField(`executors.${id}.authMethod`, `${id} can be paid by: ${executor.modes.join(', ')}`);
      const unknown = disabledModels.find((model) => !known.some((each) => each.id === model));
      if (unknown !== undefined) throw invalidField(`executors.${id}.disabledModels`, `no model ${unknown}`);
    }
    for (const [index, { id: model, executors: users }] of policy.models.entries()) {
      const unknown = users.find((id) => !ids.includes(id));
      if (unknown !== undefined) throw invalidField(`models.${index}.executors`, `no executor ${unknown}`);
      if (policy.models.findIndex((each) => each.id === model) !== index)
        throw invalidField(`models.${index}.id`, `${model} is there twice`);
    }
  }
}
