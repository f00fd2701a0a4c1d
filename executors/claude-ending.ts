import type { Evidence, Exit, ParsedEnding, Reason } from '../src/kit/executor.ts';
import { reasonOfStatus } from '../src/kit/provider-status.ts';
import type { Result } from './claude-output.ts';

export interface Told {
  /** The last one counts: a background task makes the CLI give a result, go on, and give another. */
  readonly result: Result | undefined;
  /** What the CLI calls the fault that it told of in the model's place, unless an answer came since. */
  readonly fault: string | undefined;
  /** The retry announced last, unless an answer came since. */
  readonly retryStatus: number | null | undefined;
  /** The model has begun an answer that no tool result or final result has followed. */
  readonly isAnswering: boolean;
}

/** By the CLI's name for the fault, which knows more than the status: a lack of credit comes as 400. `server_error` and `unknown` may be anything. */
const reasonsOfFault: ReadonlyMap<string | undefined, Reason<'failed'>> = new Map([
  ['authentication_failed', 'auth'],
  ['oauth_org_not_allowed', 'auth'],
  ['verification_required', 'auth'],
  ['cloud_credential_error', 'auth'],
  ['account_on_hold', 'billing'],
  ['billing_error', 'billing'],
  ['rate_limit', 'rate_limited'],
  ['overloaded', 'provider_error'],
  ['model_not_found', 'model_not_found'],
  ['max_output_tokens', 'too_long'],
]);

/** `subtype` is "success" even for errors, and the exit code is 0 after SIGINT: `is_error` and the exit decide together. */
export function endOf(told: Told, exit: Exit): ParsedEnding {
  const { result, retryStatus } = told;
  if (result && !result.is_error && exit.code === 0)
    return { ending: { outcome: 'succeeded', reason: 'completed' }, evidence: { saidResult: true } };
  const status = result?.api_error_status ?? retryStatus ?? undefined;
  const message = messageOf(result);
  const evidence: Evidence = {
    saidResult: result !== undefined,
    ...(status !== undefined && { httpStatus: status }),
    ...(message && { message }),
  };
  const reason =
    reasonOfFault(told) ?? (status === undefined ? reasonWithoutStatus(told, exit) : reasonOfStatus(status));
  return { ending: { outcome: 'failed', reason }, evidence };
}

function messageOf(result: Result | undefined): string | undefined {
  return result?.result || result?.errors?.join('; ');
}

function reasonOfFault({ result, fault }: Told): Reason<'failed'> | undefined {
  if (result?.stop_reason === 'refusal') return 'refused';
  if (result?.terminal_reason === 'prompt_too_long' || result?.api_error === 'max_output_tokens') return 'too_long';
  return reasonsOfFault.get(fault);
}

function reasonWithoutStatus(
  { result, fault, retryStatus, isAnswering }: Told,
  { code, signal }: Exit,
): Reason<'failed'> {
  if (fault === 'invalid_request') return 'invalid_request';
  const message = messageOf(result) ?? '';
  if (result?.api_error_type || /empty or malformed response/.test(message)) return 'provider_error'; // in an answer that began with status 200
  const isCut = isAnswering || /mid-response|API was lost|JSON Parse|StreamTruncated/.test(message);
  if (retryStatus === null || result?.terminal_reason === 'api_error')
    return isCut ? 'stream_cut' : 'provider_unreachable';
  const wasKilled = signal !== null || (code !== null && code > 128) || result?.terminal_reason?.startsWith('aborted');
  if (wasKilled) return 'executor_killed';
  return result?.is_error ? 'executor_error' : 'executor_exited';
}
