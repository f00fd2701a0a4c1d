import { DaemonError } from '../protocol/errors.ts';
import type { Executor } from '../kit/executor.ts';
import type { Admission } from '../task/admission.ts';
import type { Credentials } from '../task/credentials.ts';
import type { InstalledExecutors } from '../task/installed-executors.ts';
import type { Policies } from '../task/policies.ts';
import type { Tasks } from '../task/tasks.ts';
import type { Handlers } from './handlers.ts';

export interface Rules {
  readonly tasks: Tasks;
  readonly policies: Policies;
  readonly credentials: Credentials;
  readonly admission: Admission;
  readonly installed: InstalledExecutors;
}

type RuleMethod = Extract<keyof Handlers, `policy.${string}` | `credential.${string}` | 'model.list' | 'executor.list'>;

/** What turns may run with: executors, models, the policy and the credentials. */
export function ruleHandlers({
  tasks,
  policies,
  credentials,
  admission,
  installed,
}: Rules): Pick<Handlers, RuleMethod> {
  return {
    'executor.list': () => ({
      executors: installed.all().map(({ definition, argv, version, command }) => {
        const mode = admission.effectiveMode(definition);
        return {
          executor: definition.id,
          title: definition.title,
          available: argv !== undefined,
          ...(version !== undefined && { version }),
          defaultModel: definition.defaultModel,
          enabled: policies.of(definition.id).enabled,
          ...(mode && { mode }),
          ...(argv === undefined && { command }),
        };
      }),
    }),
    'model.list': ({ executor }) => ({
      executors: chosen(installed, executor).map((each) => modelsOf(admission, each)),
    }),
    'policy.get': () => policies.get(),
    'policy.set': async (policy) => {
      await policies.set(policy);
      tasks.reconsider();
      return policies.get();
    },
    'credential.set': async (params) => {
      await credentials.set(params);
      tasks.reconsider();
      return {};
    },
    'credential.clear': async (params) => {
      await credentials.clear(params);
      tasks.reconsider();
      return {};
    },
    'credential.list': () => ({ credentials: credentials.list() }),
    'credential.refreshed': () => ({
      refreshed: credentials.refreshed().map(({ value, ...rest }) => ({ ...rest, value: value.open() })),
    }),
    'credential.ack': async ({ refreshId }) => {
      if (!(await credentials.acknowledge(refreshId)))
        throw new DaemonError('refresh_not_found', `no refreshed credential waits as ${refreshId}`);
      return {};
    },
  };
}

function chosen(installed: InstalledExecutors, id: string | undefined): readonly Executor[] {
  if (id === undefined) return installed.all().map(({ definition }) => definition);
  const found = installed.get(id);
  if (found) return [found.definition];
  throw new DaemonError('executor_unknown', `no executor ${id}; there are: ${installed.ids.join(', ')}`, {
    data: { executors: installed.ids },
  });
}

function modelsOf(admission: Admission, executor: Executor) {
  return {
    executor: executor.id,
    defaultModel: executor.defaultModel,
    modes: admission.choices(executor).map(({ mode, models }) => ({
      mode,
      models: models.map(({ model, isEnabled }) => ({
        model: model.id,
        provider: model.provider,
        native: model.native,
        ...(model.auxiliary && { auxiliary: [...model.auxiliary] }),
        enabled: isEnabled,
      })),
    })),
  };
}
