import { DaemonError } from '../protocol/errors.ts';
import type { InterruptReason } from '../protocol/events.ts';

const meanings: Readonly<Record<InterruptReason, string>> = {
  cancelled: 'was cancelled',
  timeout: 'took longer than it may',
  turn_ended: 'ended with its turn',
  daemon_stopping: 'was ended because the daemon stops',
  daemon_restarted: 'ended with the daemon that served it',
};

/** A call that ended before its tool had: it may have had its effect or not, and is not run again. */
export class Interruption extends DaemonError {
  readonly reason: InterruptReason;

  constructor(reason: InterruptReason) {
    super('tool_interrupted', `the call ${meanings[reason]}; its effect may have happened or not`, {
      data: { reason },
    });
    this.reason = reason;
  }
}
