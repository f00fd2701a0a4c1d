import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { BaseUrl } from '../protocol/policy.ts';

/** A whole number: as such in the file, as text in the environment and in flags. (z.coerce would also take `true`, `null` and ''.) */
const int = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value),
    z.int().min(min).max(max),
  );
const ms = (value: number) => int(0, 2_147_483_647).default(value);
const count = (value: number) => int(1, 1_000_000_000).default(value);
const bytes = (value: number) => int(1, Number.MAX_SAFE_INTEGER).default(value);
/** Made absolute: against the folder of the file, or the current one for the environment and flags. */
const path = () => z.string().min(1).meta({ isPath: true });
const url = () => BaseUrl.optional().meta({ isUrl: true });
const list = z
  .union([z.array(z.string()), z.string().transform((text) => text.split(',').filter(Boolean))])
  .default([]);
const KiB = 1024;
const MiB = 1024 * KiB;

/** Where the state directory is when nothing names one: `$XDG_STATE_HOME/harnessd`. */
export function defaultStateDir(env: Readonly<Record<string, string | undefined>>): string {
  return join(env['XDG_STATE_HOME'] ?? join(env['HOME'] ?? homedir(), '.local', 'state'), 'harnessd');
}

/**
 * Every option: `a.b` in the file is `HARNESSD_A_B` in the environment and `--a-b` as a flag of `harnessd serve`.
 * A flag wins over the environment, the environment over the file, the file over the default.
 */
export const Config = z.strictObject({
  stateDir: path().describe('everything the daemon keeps (0700); default `$XDG_STATE_HOME/harnessd`'),
  home: path().optional().describe('HOME of the executors; default: the daemon’s own'),
  log: z
    .strictObject({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error'])
        .default('info')
        .describe('what is logged to standard error'),
    })
    .prefault({}),
  listen: z
    .strictObject({
      host: z
        .string()
        .default('127.0.0.1')
        .describe('address; while the generated token is the only one, loopback only'),
      port: int(0, 65_535).default(7433).describe('0: any free port, kept for the next start'),
      allowedOrigins: list.describe('web origins that may connect; none by default'),
      allowedHosts: list.describe('Host headers that are answered beside the listening address’s own'),
    })
    .prefault({}),
  limits: z
    .strictObject({
      frameBytes: bytes(4 * MiB).describe('largest frame that a peer may send'),
      peers: count(256).describe('connections at once'),
      requestsPerPeer: count(64).describe('requests in flight on one connection'),
      subscriptionsPerPeer: count(64).describe('subscriptions on one connection'),
      pageEvents: count(500).describe('events read and sent at once to a subscriber'),
      pageBytes: bytes(256 * KiB).describe('bytes of events read and sent at once to a subscriber'),
      pingMs: ms(15_000).describe('between pings'),
      pongMs: ms(30_000).describe('without a pong for so long, a connection is closed (4408)'),
      handshakeMs: ms(10_000).describe('for a request’s head to arrive'),
    })
    .prefault({}),
  turn: z
    .strictObject({
      timeoutMs: ms(6 * 3_600_000).describe('wall clock of a turn'),
      idleMs: ms(600_000).describe('without output, tool or child process for so long, a turn is ended'),
      graceMs: ms(5_000).describe('between TERM and KILL'),
      captureBytes: bytes(1024 * MiB).describe(
        'largest output of an executor, what it wrote to its terminal included; beyond it the turn fails with output_limit',
      ),
      lineBytes: bytes(16 * MiB).describe('longest line that is parsed; of a longer one the beginning is kept'),
      concurrency: count(8).describe('turns that run at once'),
      retryMs: ms(30_000).describe('how long an executor may keep retrying a provider that refuses or fails'),
    })
    .prefault({}),
  tools: z
    .strictObject({
      timeoutMs: ms(120_000).describe('how long a call of a tool may take, where the tool itself does not say'),
      outputBytes: bytes(MiB).describe('largest answer of a tool, where the tool itself does not say'),
      eventBytes: bytes(64 * KiB).describe('of an input or output, how much the journal keeps'),
      callsPerTurn: count(32).describe('calls of one turn at once'),
      answersMs: ms(86_400_000).describe(
        'how long the answer to a call outside a task is kept for whoever asks again; older ones go at the next start',
      ),
      requestBytes: bytes(4 * MiB).describe('largest request to `/mcp`'),
    })
    .prefault({}),
  terminal: z
    .strictObject({
      cols: count(120).describe('width of a turn’s terminal'),
      rows: count(32).describe('height of a turn’s terminal'),
    })
    .prefault({}),
  containment: z
    .enum(['auto', 'cgroup', 'weak'])
    .default('auto')
    .describe('how the end of a turn’s processes is enforced'),
  hosts: z
    .strictObject({
      idleExitMs: ms(10_000).describe('a pty host without a terminal and without a daemon leaves after this time'),
      diskFullMs: ms(30_000).describe(
        'how long a terminal’s output waits for room on a full disk before it is dropped',
      ),
    })
    .prefault({}),
  executors: z
    .strictObject({
      default: z.string().default('claude').describe('for tasks that name none'),
      binaries: list.describe('by executor, other programs than the installed CLIs: `claude=/opt/claude`'),
    })
    .prefault({}),
  providers: z
    .strictObject({
      anthropicBaseUrl: url().describe('where turns with a key or subscription of Anthropic go; default: the vendor'),
      openaiBaseUrl: url().describe('the same for keys of OpenAI'),
      googleBaseUrl: url().describe('the same for keys of Google'),
      codeAssistBaseUrl: url().describe('the same for subscriptions of Google (Code Assist)'),
    })
    .prefault({}),
  credentials: z
    .strictObject({
      file: path()
        .optional()
        .describe('JSON file (0600) of credentials by executor; wins over the daemon’s environment'),
    })
    .prefault({}),
  faults: z
    .strictObject({
      crashAt: z
        .string()
        .optional()
        .describe('for tests of recovery: the step, as `name` or `name:times`, at which the daemon kills itself'),
    })
    .prefault({}),
  offlineModel: z
    .enum(['off', 'auto'])
    .default('off')
    .describe('auto: an executor without a credential is answered by the scripted model that is part of harnessd'),
});
export type Config = z.infer<typeof Config>;
