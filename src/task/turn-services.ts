import type { Logger } from 'pino';
import type { Clock } from '../base/clock.ts';
import type { Secret } from '../base/secret.ts';
import type { Credential, Executor } from '../kit/executor.ts';
import type { TurnId } from '../protocol/ids.ts';
import type { Hosts } from '../pty-host/hosts.ts';
import type { Containment } from '../process/containment.ts';
import type { Store } from '../store/store.ts';
import type { Admission } from './admission.ts';
import type { Credentials } from './credentials.ts';
import type { Layout } from './layout.ts';
import type { OnStep } from './steps.ts';

/** The calls of harnessd's own tools that turns make. */
export interface TurnCalls {
  hasOpenCall(turnId: TurnId): boolean;
  /** Ends the turn's calls and takes no more of them. Resolves when what became of each is recorded; does not reject. */
  endTurn(turnId: TurnId, reason: 'cancelled' | 'turn_ended'): Promise<void>;
  /** The turn's end is recorded. */
  forgetTurn(turnId: TurnId): void;
}

export interface TurnLimits {
  readonly timeoutMs: number;
  readonly idleMs: number;
  readonly graceMs: number;
  readonly captureBytes: number;
  readonly lineBytes: number;
  readonly retryMs: number;
  readonly concurrency: number;
}

/** An executor as this computer has it. */
export interface InstalledExecutor {
  readonly definition: Executor;
  /** What runs it, without arguments of its own; undefined when it is not installed. */
  readonly argv: readonly string[] | undefined;
  readonly version: string | undefined;
  /** What installs it. */
  readonly command: string;
}

/** All that turns use of the daemon. */
export interface TurnServices {
  readonly store: Store;
  readonly hosts: Hosts;
  readonly containment: Containment;
  readonly layout: Layout;
  readonly limits: TurnLimits;
  readonly terminal: { readonly cols: number; readonly rows: number };
  readonly clock: Clock;
  readonly log: Logger;
  readonly onStep: OnStep;
  readonly home: string;
  /** Masked in whatever a turn says, beside the turn's own. */
  readonly secrets: readonly Secret[];
  readonly daemonEnv: Readonly<Record<string, string | undefined>>;
  /** Undefined for an id that is not in the registry. Looked up at each use: an executor may be installed while the daemon runs. */
  executor(id: string): InstalledExecutor | undefined;
  /** Where harnessd's tools are served over MCP; known once the door is open. */
  mcpUrl(): Promise<string>;
  readonly admission: Admission;
  readonly credentials: Credentials;
  readonly calls: TurnCalls;
  /** What leads an executor to the scripted model. */
  offlineCredential(): Promise<Credential>;
}
