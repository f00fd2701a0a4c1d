import type { Secret } from '../base/secret.ts';
import type { Ending, Evidence, ExecutorEvent } from '../protocol/events.ts';
import type { ModelProvider, PaymentMode } from '../protocol/payment.ts';

export type { Evidence, ExecutorEvent, Reason, ToolKind } from '../protocol/events.ts';
export { Secret } from '../base/secret.ts';

/** What an executor shows its provider. */
export interface Credential {
  /** `credits`: a bearer token of the proxy at `baseUrl`; `api_key`: the organisation's key; `oauth`: a member's access token. */
  readonly mode: PaymentMode;
  readonly value: Secret;
  /** `oauth` only: the value is the text of the CLI's own credential file, which it may refresh. */
  readonly isFile?: boolean;
  /** Root below which the provider's paths (`/v1/…`, `/v1beta/…`) are found, without a slash at its end; default: the vendor's own. */
  readonly baseUrl?: string;
}

/** harnessd's own tools, served over MCP (streamable HTTP). */
export interface McpServer {
  /** The name that tools are prefixed with. */
  readonly name: string;
  readonly url: string;
  /** The turn's own bearer token. */
  readonly token: Secret;
}

/** All that a plan may depend on. */
export interface PlanRequest {
  readonly prompt: string;
  /** Name as the provider knows it. */
  readonly model: string;
  /** Executor session to go on with. */
  readonly resume?: string;
  readonly credential: Credential;
  readonly mcp: McpServer;
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
  /** Written 0600 under `configDir` before the launch, and removed with the turn, for they may hold secrets: relative path → text. */
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
  /** The executor asks the same again and again and will not end by itself: the turn ends it, as one that retries too long. */
  readonly isStuck?: boolean;
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
  /** Below the CLI's install folder `executors/cli/<id>/node_modules`: a native binary per platform (`linux-x64`), or a script for our own Node. */
  readonly program: { readonly binaries: Readonly<Record<string, string>> } | { readonly script: string };
  /** Its vendor, whose models an `api_key` or `oauth` turn may use. */
  readonly provider?: ModelProvider;
  readonly modes: readonly PaymentMode[];
  readonly defaultModel: string;
  /** Environment variables by which each kind of credential comes in from the daemon's own environment or file. */
  readonly credentialVariables: Readonly<Partial<Record<PaymentMode, string>>>;
  readonly baseUrlVariable?: string;
  /** Beginnings of the variables that steer the CLI: a turn's own environment may not hold them, for they go around who pays. */
  readonly steeredBy: readonly string[];
  /** Where below `configDir` the CLI keeps its login, if it can be given one as a file. */
  readonly credentialFile?: string;
  /** The signal by which the CLI ends best; it is sent after its descendants got TERM. */
  readonly stopSignal: 'SIGINT' | 'SIGTERM';
  /** Where below `configDir` a conversation is kept (a glob): one that is not there yet cannot be resumed. */
  readonly conversation: (session: string) => string;
  /** `session`: the usage that it reports counts from the beginning of the conversation; default: of the turn. */
  readonly usageCounts?: 'session';
  plan(request: PlanRequest): Plan;
  /** Loaded when the first turn needs it: its schemas would cost every start of the daemon. */
  parser(): Promise<Parser<State>>;
}

/** Any executor: who holds one from the registry cannot know its parser's state, and has no need to. */
export type Executor = ExecutorDefinition;

export function defineExecutor<State>(definition: ExecutorDefinition<State>): Executor {
  return definition; // the state only ever comes from this parser's own start() and line(), so forgetting its type is safe
}
