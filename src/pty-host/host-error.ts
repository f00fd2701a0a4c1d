/** Every way in which a host refuses or fails, and what it means. */
export const hostErrorCodes = {
  bad_frame: 'the peer sent bytes that are no frame of this protocol; the connection is closed',
  bad_request: 'a parameter is missing or wrong',
  unknown_method: 'there is no such method',
  unsupported_protocol: 'the peer speaks a protocol version that this host does not',
  conflict: 'the id was used for another command line',
  host_lost: 'the id was started by a host that has died, and how it ended is not known',
  other_host: 'the id belongs to another host, which lives',
  not_found: 'there is no terminal of this id here',
  still_running: 'the terminal has not ended',
  leaving: 'the host was told to leave and starts nothing new',
  cwd_missing: 'the working directory is missing, or no directory',
  program_missing: 'the program is missing, or not executable',
  stdin_missing: 'the file for standard input cannot be read',
  capture_failed: 'the capture file cannot be written',
  disk_full: 'there is no room to record the start',
  no_resources: 'the machine is out of processes, memory or file descriptors',
  spawn_failed: 'the start failed in another way',
  path_too_long: 'the socket path is longer than the system allows',
  disconnected: 'the connection to the host closed before its answer',
  internal: 'a fault of the host',
} as const;

export type HostErrorCode = keyof typeof hostErrorCodes;

export class HostError extends Error {
  readonly code: HostErrorCode;
  /** For `conflict`, `host_lost` and `other_host`: the terminal's record. */
  readonly data: unknown;

  constructor(code: HostErrorCode, message: string, options: { cause?: unknown; data?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'HostError';
    this.code = code;
    this.data = options.data;
  }
}

export function isHostErrorCode(code: unknown): code is HostErrorCode {
  return typeof code === 'string' && Object.hasOwn(hostErrorCodes, code);
}
