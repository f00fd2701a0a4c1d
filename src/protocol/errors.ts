import { JSONRPCErrorCode } from 'json-rpc-2.0/dist/models.js';

interface ErrorKind {
  /** The JSON-RPC error number. */
  readonly number: number;
  /** Who has to change something before it works. */
  readonly fault: 'caller' | 'computer' | 'daemon';
  /** Whether the same request, sent again later, may succeed. */
  readonly retry: boolean;
  readonly summary: string;
}

/** Every error that a peer or a person at the command line can be given, whose fault it is, and whether trying again may help. */
export const errorKinds = {
  parse_error: {
    number: JSONRPCErrorCode.ParseError,
    fault: 'caller',
    retry: false,
    summary: 'The frame is not JSON.',
  },
  invalid_request: {
    number: JSONRPCErrorCode.InvalidRequest,
    fault: 'caller',
    retry: false,
    summary: 'The frame is JSON but not one JSON-RPC 2.0 request (batches are not taken).',
  },
  method_not_found: {
    number: JSONRPCErrorCode.MethodNotFound,
    fault: 'caller',
    retry: false,
    summary: 'There is no such method.',
  },
  invalid_params: {
    number: JSONRPCErrorCode.InvalidParams,
    fault: 'caller',
    retry: false,
    summary: 'The params do not fit the method; `data.issues` names each path and what is wrong there.',
  },
  internal: {
    number: JSONRPCErrorCode.InternalError,
    fault: 'daemon',
    retry: true,
    summary: 'A fault of the daemon; its log has the cause.',
  },
  request_cancelled: {
    number: -32800,
    fault: 'caller',
    retry: true,
    summary: 'The peer cancelled the request with `$/cancel`.',
  },
  task_not_found: { number: -32001, fault: 'caller', retry: false, summary: 'No task has this id, or it was deleted.' },
  terminal_not_found: { number: -32002, fault: 'caller', retry: false, summary: 'No terminal has this id.' },
  subscription_not_found: {
    number: -32003,
    fault: 'caller',
    retry: false,
    summary: 'This connection has no such subscription.',
  },
  conflict: {
    number: -32004,
    fault: 'caller',
    retry: false,
    summary: 'The id was used before, with another body or by a task that was deleted.',
  },
  workspace_invalid: {
    number: -32005,
    fault: 'caller',
    retry: false,
    summary: 'The workspace is not an absolute path of an existing directory that can be written.',
  },
  executor_unknown: {
    number: -32006,
    fault: 'caller',
    retry: false,
    summary: 'There is no such executor; `data.executors` lists them.',
  },
  executor_unavailable: {
    number: -32007,
    fault: 'computer',
    retry: true,
    summary: 'The executor is not installed; `data.command` installs it.',
  },
  credentials_required: {
    number: -32008,
    fault: 'computer',
    retry: true,
    summary: 'No credential is configured for the executor, or none of the member’s.',
  },
  executor_disabled: {
    number: -32014,
    fault: 'caller',
    retry: false,
    summary: 'The organisation’s policy does not allow the executor.',
  },
  model_not_allowed: {
    number: -32015,
    fault: 'caller',
    retry: false,
    summary:
      'There is no such model for the executor and its way of paying; `data.allowed` lists those that there are.',
  },
  model_disabled: {
    number: -32016,
    fault: 'caller',
    retry: false,
    summary: 'The organisation’s policy does not allow the model; `data.allowed` lists those that it allows.',
  },
  auth_not_allowed: {
    number: -32017,
    fault: 'caller',
    retry: false,
    summary: 'The organisation’s policy, or the executor, does not take the way of paying that came with the turn.',
  },
  refresh_not_found: {
    number: -32018,
    fault: 'caller',
    retry: false,
    summary: 'No refreshed credential waits under this id: it was acknowledged before.',
  },
  task_active: {
    number: -32009,
    fault: 'caller',
    retry: true,
    summary: 'The task has a turn, or a call of a tool, that has not ended; cancel it first.',
  },
  cursor_ahead: {
    number: -32010,
    fault: 'caller',
    retry: false,
    summary:
      'The cursor is past the newest event; `data.latest` is that. It belongs to another computer or an older state directory.',
  },
  too_many_requests: {
    number: -32011,
    fault: 'caller',
    retry: true,
    summary: 'The connection has as many requests or subscriptions open as it may, or the turn as many calls of tools.',
  },
  storage_full: {
    number: -32012,
    fault: 'computer',
    retry: true,
    summary: 'The disk of the state directory is full; nothing was recorded.',
  },
  shutting_down: { number: -32013, fault: 'daemon', retry: true, summary: 'The daemon is stopping; come back.' },
  tool_not_found: {
    number: -32030,
    fault: 'caller',
    retry: false,
    summary: 'There is no such tool; `data.tools` lists them.',
  },
  tool_failed: {
    number: -32031,
    fault: 'caller',
    retry: false,
    summary: 'The tool could not do what it was asked for; the message says why.',
  },
  tool_interrupted: {
    number: -32032,
    fault: 'computer',
    retry: false,
    summary:
      'The call ended before its tool had: `data.reason` says why. It may have had its effect or not, and is not run again, so that its id gets this answer for ever.',
  },
  config_invalid: {
    number: -32050,
    fault: 'caller',
    retry: false,
    summary: 'At start: a configuration key is unknown or its value does not fit; the message names the key.',
  },
  runtime_unsuitable: {
    number: -32051,
    fault: 'computer',
    retry: false,
    summary:
      'At start: this Node loses the end of a program’s output (see README); `npm run setup` brings one that does not.',
  },
  state_locked: {
    number: -32052,
    fault: 'computer',
    retry: true,
    summary: 'At start: another daemon uses the state directory; the message names its process.',
  },
  state_unwritable: {
    number: -32053,
    fault: 'computer',
    retry: true,
    summary: 'At start: the state directory cannot be made or written.',
  },
  store_unusable: {
    number: -32056,
    fault: 'computer',
    retry: false,
    summary:
      'At start: the database cannot be used: it is damaged, or a newer harnessd wrote it; the message names it.',
  },
  port_in_use: {
    number: -32054,
    fault: 'computer',
    retry: true,
    summary: 'At start: another program listens on the address.',
  },
  daemon_unreachable: {
    number: -32055,
    fault: 'computer',
    retry: true,
    summary: 'At the command line: no daemon answers for the state directory.',
  },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

export interface DaemonErrorOptions {
  readonly data?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** An error that may be told to whoever asked: its code is from the table above. */
export class DaemonError extends Error {
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, { data = {}, cause }: DaemonErrorOptions = {}) {
    super(message, { cause });
    this.name = 'DaemonError';
    this.code = code;
    this.data = data;
  }
}

/** Codes with which the daemon closes a WebSocket. Those of the ws library itself (1009: frame over the limit) are in the page too. */
export const closeCodes = {
  4400: {
    retry: false,
    summary: 'Malformed: what was sent is not the protocol (a binary frame to the daemon, for one).',
  },
  4401: { retry: false, summary: 'No valid token.' },
  4403: { retry: false, summary: 'The token may not do this.' },
  4408: { retry: true, summary: 'No pong in time: the connection was taken for dead.' },
  4429: { retry: true, summary: 'Too many connections.' },
  1009: { retry: false, summary: 'A frame over `limits.frameBytes`.' },
  1012: { retry: true, summary: 'The daemon is restarting: come back and resume from the last id.' },
} as const;
