import { z } from 'zod';
import { PaymentMode } from './payment.ts';
import { BaseUrl, Member, plainRecord } from './policy.ts';

const maxPromptChars = 100_000;

/** Counted in characters as people count them (code points), not in UTF-16 units. */
const Prompt = z
  .string()
  .min(1, 'must not be empty')
  .refine((text) => text.trim() !== '', 'must not be blank')
  .refine(
    (text) => text.length <= maxPromptChars || Array.from(text).length <= maxPromptChars,
    `must be at most ${maxPromptChars} characters`,
  )
  .refine((text) => !text.includes('\0'), 'must not contain NUL');

const maxCredentialChars = 65_536;
export const Credential = z
  .string()
  .min(8, 'must have at least 8 characters')
  .max(maxCredentialChars)
  .refine((text) => !/[\0\r]/.test(text), 'must not contain NUL or carriage return');

/** What harnessd itself sets in a turn's environment. */
const reserved = /^(HARNESSD_.*|HOME|TMPDIR|TERM)$/;
const Env = plainRecord(
  z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be a variable’s name')
    .refine((name) => !reserved.test(name), 'is set by harnessd itself'),
  z.union([
    z
      .string()
      .max(32_768)
      .refine((text) => !text.includes('\0'), 'must not contain NUL'),
    z.strictObject({ secret: Credential }).describe('masked in whatever the turn says'),
  ]),
).refine((env) => Object.keys(env).length <= 256, 'must be at most 256 variables');

const Auth = z.strictObject({
  mode: PaymentMode,
  value: Credential,
  baseUrl: BaseUrl.optional().describe('of the proxy for `credits`; default: the policy’s'),
});

/** What a turn may be given, whichever method makes it. */
export const turnParams = {
  prompt: Prompt.describe(`1 to ${maxPromptChars} characters`),
  member: Member.optional().describe('on whose behalf: their OAuth credential pays where the policy says `oauth`'),
  auth: Auth.optional().describe('a credential for this turn alone, within what the policy allows'),
  env: Env.optional().describe('variables for this turn; `{secret}` values are masked'),
  timeoutMs: z
    .int()
    .min(1000)
    .max(2_147_483_647)
    .optional()
    .describe('wall clock of the turn; default: `turn.timeoutMs`'),
};
