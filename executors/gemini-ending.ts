import type { Exit, ParsedEnding, Reason } from '../src/kit/executor.ts';
import { reasonOfStatus } from '../src/kit/provider-status.ts';
import type { Result } from './gemini-output.ts';

interface Told {
  readonly result: Result | undefined;
  /** The last line of the type `error`: a result that follows one may have no message of its own. */
  readonly error: string | undefined;
}

/** By the exit codes that are Gemini CLI's own. */
const reasonsOfExit: Readonly<Record<number, Reason<'failed'>>> = { 41: 'auth', 130: 'executor_killed' };

/** By the error's words, where there is no HTTP status: the first that fits. */
const reasonsOfWords: readonly (readonly [RegExp, Reason<'failed'>])[] = [
  [/^The model response was blocked due to /, 'refused'],
  [/^Model response was truncated because it exceeded the token limit/, 'too_long'],
  [/without a finish reason|terminated|premature close|incomplete json/i, 'stream_cut'],
  [/fetch failed|ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|EPROTO|UND_ERR|ERR_SSL/, 'provider_unreachable'],
];

/** Where the words say more than the status. */
const wordsOfStatus: readonly (readonly [RegExp, Reason<'failed'>])[] = [
  [/API key (not valid|expired)|API_KEY_INVALID/, 'auth'],
  [/prepayment credits are depleted/i, 'billing'],
  [/input token count.* exceeds the maximum number of tokens/i, 'too_long'],
];

/** A signal makes it exit with 0 and no result; an error may as well exit with 0: the result and the exit decide together. */
export function endOf({ result, error }: Told, exit: Exit): ParsedEnding {
  if (result?.status === 'success' && exit.code === 0)
    return { ending: { outcome: 'succeeded', reason: 'completed' }, evidence: { saidResult: true } };
  const message = result?.error?.message ?? error;
  const httpStatus = result?.status === 'error' ? statusOf(message ?? '', exit) : undefined;
  return {
    ending: { outcome: 'failed', reason: reasonOf({ result, error }, httpStatus, exit) },
    evidence: {
      saidResult: result !== undefined,
      ...(httpStatus !== undefined && { httpStatus }),
      ...(message && { message }),
    },
  };
}

/** Where the message does not quote the provider's answer the exit code is its status modulo 256; what was not found is told by words alone. */
function statusOf(message: string, { code }: Exit): number | undefined {
  const quoted = /"code":\s*([45]\d\d)\b/.exec(message)?.[1];
  if (quoted !== undefined) return Number(quoted);
  if (code === null) return undefined;
  if (code >= 400 - 256) return code + 256;
  if (code >= 520 - 512 && code <= 530 - 512) return code + 512; // 529, and those that Cloudflare adds
  return /^\[API Error: .*(\bnot found\b|\bdoes not exist\b|\b404\b)/i.test(message) ? 404 : undefined;
}

function reasonOf(told: Told, status: number | undefined, { code, signal }: Exit): Reason<'failed'> {
  const { result, error } = told;
  const message = result?.error?.message ?? error ?? '';
  if (status !== undefined) return wordsOfStatus.find(([words]) => words.test(message))?.[1] ?? reasonOfStatus(status);
  if (signal !== null) return 'executor_killed';
  const ofExit = reasonsOfExit[code ?? 0];
  if (ofExit) return ofExit;
  if (result?.status !== 'error') return 'executor_exited';
  if (result.error?.type === 'no_space_left') return 'disk_full';
  return reasonsOfWords.find(([words]) => words.test(message))?.[1] ?? 'executor_error';
}
