import { z } from 'zod';
import { ModelProvider, PaymentMode } from './payment.ts';
import { ExecutorId, Member, Policy } from './policy.ts';
import { Credential } from './turn-params.ts';

const credentialRef = {
  executor: ExecutorId,
  mode: PaymentMode,
  member: Member.optional().describe('whose it is; with `oauth`, and only then'),
};

/** Methods about what turns may run with: executors, models, the policy, credentials. */
export const ruleMethods = {
  'executor.list': {
    summary: 'The coding agents that a turn can name.',
    params: z.strictObject({}),
    result: z.object({
      executors: z.array(
        z.object({
          executor: z.string(),
          title: z.string(),
          available: z.boolean(),
          version: z.string().optional(),
          defaultModel: z.string(),
          enabled: z.boolean().describe('by the policy'),
          mode: PaymentMode.optional().describe(
            'how a turn of no member in particular is paid now; absent: no credential',
          ),
          command: z.string().optional().describe('what installs it, when it is not available'),
        }),
      ),
    }),
  },
  'model.list': {
    summary: 'The models of an executor, or of all, by each way of paying.',
    params: z.strictObject({ executor: ExecutorId.optional() }),
    result: z.object({
      executors: z.array(
        z.object({
          executor: z.string(),
          defaultModel: z.string(),
          modes: z.array(
            z.object({
              mode: PaymentMode,
              models: z.array(
                z.object({
                  model: z.string(),
                  provider: ModelProvider,
                  native: z.string().describe('its name in the provider’s API'),
                  auxiliary: z
                    .array(z.string())
                    .optional()
                    .describe('other names that the executor asks for on the way'),
                  enabled: z.boolean().describe('by the policy'),
                }),
              ),
            }),
          ),
        }),
      ),
    }),
  },
  'policy.get': {
    summary: 'What the organisation allows on this computer.',
    params: z.strictObject({}),
    result: Policy,
  },
  'policy.set': {
    summary:
      'Replaces the whole policy. It holds for every turn that starts from now on, those that are queued among them.',
    params: Policy,
    result: Policy,
  },
  'credential.set': {
    summary:
      'Gives a credential. It is kept in memory only: after a restart of the daemon it is given again, and turns that need it wait for that.',
    params: z.strictObject({
      ...credentialRef,
      value: Credential.describe(
        'token, key or OAuth access token; with `isFile` the text of the CLI’s own credential file',
      ),
      isFile: z.boolean().default(false),
    }),
    result: z.object({}),
  },
  'credential.clear': {
    summary: 'Takes a credential back. Turns that run keep it until they end.',
    params: z.strictObject(credentialRef),
    result: z.object({}),
  },
  'credential.list': {
    summary: 'Which credentials were given; never their values.',
    params: z.strictObject({}),
    result: z.object({
      credentials: z.array(
        z.object({
          ...credentialRef,
          state: z
            .enum(['ready', 'awaited'])
            .describe('awaited: it was given to an earlier daemon and is to be given again'),
        }),
      ),
    }),
  },
  'credential.refreshed': {
    summary: 'The credential files that executors refreshed and that were not acknowledged yet, the oldest first.',
    params: z.strictObject({}),
    result: z.object({
      refreshed: z.array(
        z.object({
          refreshId: z.string(),
          at: z.int().describe('milliseconds since the epoch'),
          ...credentialRef,
          value: z.string().describe('the whole file'),
        }),
      ),
    }),
  },
  'credential.ack': {
    summary: 'A refreshed credential file was taken: the computer forgets its copy on disk.',
    params: z.strictObject({ refreshId: z.string().max(64) }),
    result: z.object({}),
  },
} as const;
