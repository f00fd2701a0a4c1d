/**
 * What the daemon and a pty host say to each other, and what both read on disk. An older host may live on for days
 * beside a newer daemon: a change here needs a new version, and the old one is still served.
 */
export const PROTOCOL = 1;
export const FORMAT = 1;

/** `[A-Za-z0-9_-]{1,64}`: it names a directory and a cgroup. */
export const terminalId = /^[A-Za-z0-9_-]{1,64}$/;

export interface SpawnRequest {
  /** The terminal's id; for a turn, the turn's. */
  readonly id: string;
  readonly argv: readonly string[];
  /**
   * All of the child's environment. Added are the marker, `PWD`, and `TERM` when it is missing; a /bin/sh that is bash adds
   * `SHLVL` and `_`. A /bin/sh that is dash drops what is no shell variable's name (`a-b`).
   */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly cols: number;
  readonly rows: number;
  /** For turns: standard input from a file, standard output appended to one. */
  readonly redirect?: { readonly stdin: string; readonly capture: string };
  /** Put into the environment, to find what escaped. */
  readonly marker: { readonly name: string; readonly value: string };
  /** Secrets to mask in the journal; none for people's terminals. */
  readonly mask: readonly string[];
  /** For what outlives the leader. */
  readonly graceMs: number;
}

export interface TerminalStatus {
  readonly id: string;
  readonly hostId: string;
  readonly argvHash: string;
  readonly pid: number;
  readonly startTime: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly cgroup: string | null;
  readonly exit: Exit | null;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** How many processes besides the leader had to be ended. */
  readonly swept: number;
  /** Whether the disk was full at the exit, or output was lost because it had been. */
  readonly diskFull: boolean;
  /** How many of its processes the kernel killed for want of memory; null when it does not say. */
  readonly oomKills: number | null;
}

export interface EndRequest {
  readonly id: string;
  /** What asks the leader to stop, SIGTERM when absent. */
  readonly signal?: NodeJS.Signals;
  readonly graceMs: number;
}

export interface HostHello {
  readonly protocol: number;
  readonly format: number;
  readonly hostId: string;
  readonly pid: number;
  readonly startTime: string;
  readonly containment: string;
}

/** Each method's parameters and answer; `hello` comes first on every connection. */
export interface HostMethods {
  hello: { params: { protocol: number }; result: HostHello };
  spawn: { params: SpawnRequest; result: TerminalStatus };
  list: { params: Record<string, never>; result: { terminals: TerminalStatus[] } };
  /** Answered at once; the exit comes as every other. */
  end: { params: EndRequest; result: Record<string, never> };
  /** Drops an ended terminal from `list`; what is on disk stays. */
  forget: { params: { id: string }; result: Record<string, never> };
  /** Starts nothing new, and leaves when the last terminal has ended. */
  stop: { params: Record<string, never>; result: Record<string, never> };
}
export type HostMethod = keyof HostMethods;

export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly data?: unknown;
}
export type HostMessage =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number | null; readonly error: WireError }
  | { readonly method: 'exited'; readonly params: TerminalStatus };

/** In `DIR/hosts/<id>.json`, from when the host listens until it leaves. */
export interface HostRecord {
  readonly id: string;
  /** The machine's boot, within which alone the pid and the start time mean anything. */
  readonly bootId: string;
  readonly pid: number;
  readonly startTime: string;
  readonly protocol: number;
  readonly format: number;
  readonly startedAt: number;
  readonly containment: string;
}
