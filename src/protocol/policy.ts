import { z } from 'zod';
import { ModelProvider, PaymentMode } from './payment.ts';

export const ModelId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$/, 'must be a model’s name');
export const ExecutorId = z.string().min(1).max(64);
/** A person of the organisation, as the control plane names them. */
export const Member = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$/, 'must be 1 to 128 letters, digits or . _ @ + -');

/** The root below which a provider's or proxy's paths (`/v1/…`, `/v1beta/…`) are found. */
export const BaseUrl = z
  .string()
  .max(2048)
  .refine((text) => isPlainHttp(text), 'must be an http or https URL without user, query and fragment')
  .transform((text) => text.replace(/\/+$/, '').replace(/\/v1$/, ''));

function isPlainHttp(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return ['http:', 'https:'].includes(protocol) && [username, password, search, hash].every((part) => part === '');
}

/** A record would drop the key `__proto__` without a word. */
export function plainRecord<Key extends z.core.$ZodRecordKey, Value extends z.ZodType>(key: Key, value: Value) {
  return z
    .unknown()
    .refine((given) => !(typeof given === 'object' && given !== null && Object.hasOwn(given, '__proto__')), {
      message: 'must not have the key __proto__',
      abort: true,
    })
    .pipe(z.record(key, value));
}

const ExecutorPolicy = z.strictObject({
  enabled: z.boolean().default(true),
  authMethod: PaymentMode.optional().describe(
    'how turns are paid; without it: by whichever of api_key, credits and oauth has a credential, in this order',
  ),
  disabledModels: z.array(ModelId).max(1000).default([]),
  proxy: z.strictObject({ baseUrl: BaseUrl.describe('of the organisation’s model proxy, for `credits`') }).optional(),
});

const AddedModel = z.strictObject({
  id: ModelId,
  provider: ModelProvider,
  native: z.string().min(1).max(256).describe('its name in the provider’s API'),
  executors: z.array(ExecutorId).min(1).max(64).describe('those that can use it'),
  auxiliary: z
    .array(z.string().min(1).max(256))
    .max(32)
    .optional()
    .describe('other names it makes an executor ask for'),
});

/** What the organisation allows on this computer. What it does not mention is allowed. */
export const Policy = z.strictObject({
  executors: plainRecord(ExecutorId, ExecutorPolicy).default({}),
  models: z
    .array(AddedModel)
    .max(1000)
    .default([])
    .describe('models beside those that harnessd knows; an id of its own replaces it'),
});
export type Policy = z.infer<typeof Policy>;
export type ExecutorPolicy = z.infer<typeof ExecutorPolicy>;
