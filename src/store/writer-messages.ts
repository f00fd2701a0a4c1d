import type { ErrorCode } from '../protocol/errors.ts';
import type { WriteName } from './writes.ts';

export interface WriterData {
  readonly path: string;
  /** A file whose space is given up so that an ending can be written on a full disk. */
  readonly reservePath: string;
  readonly reserveBytes: number;
  /** A named step at which the process kills itself; only tests set it. */
  readonly crashAt: string | undefined;
}

/** One batch: committed together, each unit undone alone when it is refused. */
export interface ToWriter {
  readonly units: readonly { readonly name: WriteName; readonly args: unknown; readonly urgent: boolean }[];
}

export interface FromWriter {
  readonly outcomes: readonly {
    readonly result?: unknown;
    readonly failure?: { readonly code: ErrorCode; readonly message: string };
  }[];
}
