import type { MethodName, Params, Result } from '../protocol/methods.ts';
import type { Subscriptions } from './subscriptions.ts';

/** What a handler may use of the request and its connection. */
export interface RequestContext {
  /** Aborted when the peer cancels the request or is gone. */
  readonly signal: AbortSignal;
  /** Aborted only when the peer cancels the request. */
  readonly cancelled: AbortSignal;
  readonly subscriptions: Subscriptions;
  /** Sends a binary frame to the peer. */
  readonly sendFrame: (frame: Uint8Array) => Promise<boolean>;
  /** Runs when the answer has been sent. */
  readonly afterReply: (run: () => void) => void;
}

/** One handler a method: a missing one does not compile. */
export type Handlers = {
  readonly [M in MethodName]: (params: Params<M>, context: RequestContext) => Promise<Result<M>> | Result<M>;
};
