import type { Outcome, Reason } from '../protocol/events.ts';

/** What each ending means, in one line. A reason that is not here does not compile. */
export const endingMeanings: { readonly [O in Outcome]: { readonly [R in Reason<O>]: string } } = {
  succeeded: {
    completed: 'the executor gave its final result and then exited as it should',
  },
  failed: {
    auth: 'the provider does not take the credential',
    billing: 'the provider’s account has no credit or may not pay',
    model_not_found: 'the provider has no such model, or not for this credential',
    invalid_request: 'the provider refused the request itself',
    refused: 'the model, or its provider, refused to answer',
    too_long: 'the answer or the conversation was longer than the model allows',
    rate_limited: 'the provider answered too often that there were too many requests',
    provider_error: 'the provider failed (5xx) until the executor gave up',
    provider_unreachable: 'no connection to the provider could be made',
    stream_cut: 'the provider’s answer broke off',
    executor_error: 'the executor itself told of an error that is none of the others',
    executor_exited: 'the executor exited without its final result',
    executor_killed: 'a signal that did not come from harnessd ended the executor',
    executor_unavailable: 'the executor is not installed, or was not when the turn began',
    executor_disabled: 'the policy does not allow the executor, or did not when the turn began',
    model_disabled: 'the policy does not allow the model, or did not when the turn began',
    model_not_allowed: 'the model is not one for this executor and way of paying, or was not when the turn began',
    auth_not_allowed: 'the policy does not take the way of paying that came with the turn, or did not when it began',
    credentials_required: 'no credential for the executor is configured',
    workspace_invalid: 'the workspace was gone or could not be written when the turn began',
    spawn_failed: 'the executor’s process could not be started',
    output_limit: 'the executor printed more than `turn.captureBytes`',
    disk_full: 'the disk was full, so that the executor’s output could not be kept',
    out_of_memory: 'the kernel ended the executor or a process of its for want of memory',
  },
  cancelled: {
    by_peer: '`task.cancel` asked for it',
    by_stop: 'the daemon was told to stop and to end its turns',
  },
  timed_out: {
    wall_clock: 'the turn took longer than `turn.timeoutMs` or its own `timeoutMs`',
    idle: 'neither output nor a running tool or child process for `turn.idleMs`',
  },
  interrupted: {
    host_lost: 'the pty host that held the turn’s terminal was gone; how the executor ended is unknown',
  },
};

export function meaningOf(outcome: Outcome, reason: Reason): string {
  const meanings: Readonly<Partial<Record<Reason, string>>> = endingMeanings[outcome];
  return meanings[reason] ?? reason;
}
