import { z } from 'zod';

/** How a turn's model requests are paid: through the organisation's model proxy, with its own key, or by a member's subscription. */
export const paymentModes = ['credits', 'api_key', 'oauth'] as const;
export const PaymentMode = z.enum(paymentModes);
export type PaymentMode = z.infer<typeof PaymentMode>;

/** Whose model it is; `open_source` models are reached by OpenRouter. */
export const ModelProvider = z.enum(['anthropic', 'openai', 'google', 'open_source']);
export type ModelProvider = z.infer<typeof ModelProvider>;

/** Names a credential: a member's with `oauth`, else the organisation's. */
export interface CredentialRef {
  readonly executor: string;
  readonly mode: PaymentMode;
  readonly member?: string | undefined;
}
