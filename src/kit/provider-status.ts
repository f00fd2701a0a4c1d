import type { Reason } from '../protocol/events.ts';

/** What an HTTP status of a model provider means for the turn that met it. */
export function reasonOfStatus(status: number): Reason<'failed'> {
  switch (status) {
    case 401:
    case 403:
      return 'auth';
    case 402:
      return 'billing';
    case 404:
      return 'model_not_found';
    case 413:
      return 'too_long';
    case 429:
      return 'rate_limited';
    case 408: // it waited for itself
      return 'provider_error';
    default:
      return status >= 400 && status < 500 ? 'invalid_request' : 'provider_error';
  }
}
