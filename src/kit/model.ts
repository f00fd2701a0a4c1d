import type { ModelProvider } from '../protocol/payment.ts';

/** A model that a turn may name: what it is, who offers it, and what an executor that is given it asks the provider for. */
export interface Model {
  readonly id: string;
  readonly provider: ModelProvider;
  /** The name in the provider's API; given to the executor. */
  readonly native: string;
  /** The executors that can use it. */
  readonly executors: readonly string[];
  /** Other names that an executor asks for on the way, if it is not told to use the model itself. */
  readonly auxiliary?: readonly string[] | undefined;
}
