import type { Secret } from '../base/secret.ts';
import type { Ending, Evidence, ExecutorEvent } from '../protocol/events.ts';

export type { Evidence, ExecutorEvent, Reason } from '../protocol/events.ts';

/** How the provider is paid: a bearer token (a proxy's), the organisation's API key, or a member's OAuth access token. */
export interface Credential {
  readonly kind: 'bearer' | 'api_key' | 'oauth';
  readonly value: Secret;
  /** Another address than the vendor's own. */
  readonly baseUrl?: string;
}

/** All that a plan may depend on. */
export interface PlanRequest {
  readonly prompt: string;
  /** Name as the provider knows it. */
  readonly model: string;
  /** Executor session to go on with. */
  readonly resume?: string;
  readonly credential: Credential;
  readonly workspace: string;
  /** The task's private directory for this executor's configuration (0700). */
  readonly configDir: string;
  /** The turn's own TMPDIR, gone after it. */
  readonly tmpDir: string;
}

export interface Plan {
  readonly args: readonly string[];
  /** Beside the allow-listed environment; a `Secret` is opened only in the child's environment. */
  readonly env: Readonly<Record<string, string | Secret>>;
  /** Written 0600 under `configDir` before the launch: relative path → text. */
  readonly files: Readonly<Record<string, string>>;
  readonly stdin: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What a parser concludes from the output and the exit; the turn adds what only it can know (cancel, limits, lost host). */
export interface ParsedEnding {
  readonly ending: Extract<Ending, { outcome: 'succeeded' | 'failed' }>;
  readonly evidence: Evidence;
}

export interface Step<State> {
  readonly state: State;
  readonly events: readonly ExecutorEvent[];
}

/** A pure fold over the lines that the CLI prints: the same lines give the same events, however often they are read. */
export interface Parser<State> {
  start(): State;
  line(state: State, line: string): Step<State>;
  end(state: State, exit: Exit): ParsedEnding;
}

/** A coding agent's CLI as data, a pure plan and a pure fold. It neither spawns nor stores. */
export interface ExecutorDefinition<State = unknown> {
  readonly id: string;
  readonly title: string;
  /** Per platform (`linux-x64`): the native binary below the CLI's install folder `executors/cli/<id>/node_modules`. */
  readonly binaries: Readonly<Record<string, string>>;
  readonly defaultModel: string;
  /** Our model names → the provider's. A name that is not here is passed on as it is. */
  readonly models: Readonly<Record<string, string>>;
  /** Environment variables by which each kind of credential comes in from the daemon's own environment or file. */
  readonly credentialVariables: Readonly<Partial<Record<Credential['kind'], string>>>;
  readonly baseUrlVariable: string;
  /** The signal by which the CLI ends best; it is sent after its descendants got TERM. */
  readonly stopSignal: 'SIGINT' | 'SIGTERM';
  /** Where below `configDir` a conversation is kept (a glob): one that is not there yet cannot be resumed. */
  readonly conversation: (session: string) => string;
  plan(request: PlanRequest): Plan;
  readonly parser: Parser<State>;
}

/** Any executor: who holds one from the registry cannot know its parser's state, and has no need to. */
export type Executor = ExecutorDefinition;

export function defineExecutor<State>(definition: ExecutorDefinition<State>): Executor {
  return definition; // the state only ever comes from this parser's own start() and line(), so forgetting its type is safe
}
