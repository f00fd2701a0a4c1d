import type { Readable, Writable } from 'node:stream';
import type { Config } from '../config/schema.ts';

export type Env = Readonly<Record<string, string | undefined>>;

/** A daemon in this process, as `serve` holds it. */
export interface RunningDaemon {
  readonly url: string;
  /** Resolves when it has stopped, by whomever it was asked. */
  readonly stopped: Promise<void>;
  stop(options: { endTurns: boolean }): Promise<void>;
}

/** The world of a command: main.ts gives the real one. */
export interface Context {
  readonly argv: readonly string[];
  readonly env: Env;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable;
  /** The folder that holds harnessd's own package.json. */
  readonly productDir: string;
  /** Loaded on call: only `serve` pays for it. */
  readonly startDaemon: (config: Config, env: Env) => Promise<RunningDaemon>;
}

/** Exit codes of every command. */
export const exitCodes = { success: 0, failure: 1, usage: 2, runtime: 3, interrupted: 130 } as const;

/** What the person at the command line wrote cannot be done. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Options that every command takes. */
export interface GlobalOptions {
  readonly stateDir?: string;
  readonly url?: string;
}

export function print({ stdout }: Context, text: string): void {
  stdout.write(`${text}\n`);
}
