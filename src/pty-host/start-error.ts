import { errnoOf } from '../base/files.ts';
import { HostError } from './host-error.ts';

/** What to tell of a start that failed. */
export function startError(error: unknown): HostError {
  if (error instanceof HostError) return error;
  const code = errnoOf(error) ?? '';
  const reason = error instanceof Error ? error.message : String(error);
  if (['ENOSPC', 'EDQUOT'].includes(code))
    return new HostError('disk_full', `No room for a terminal: ${reason}`, { cause: error });
  const isShort = ['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE'].includes(code) || reason.includes('forkpty(3) failed');
  if (isShort) return new HostError('no_resources', `No process or terminal to be had: ${reason}`, { cause: error });
  return new HostError('spawn_failed', `The terminal could not be started: ${reason}`, { cause: error });
}
