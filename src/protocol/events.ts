import { z } from 'zod';
import { TaskId, TurnId } from './ids.ts';
import { PaymentMode } from './payment.ts';

/** How a turn can end, and why: the closed list. */
export const endings = {
  succeeded: ['completed'],
  failed: [
    'auth',
    'billing',
    'model_not_found',
    'invalid_request',
    'refused',
    'too_long',
    'rate_limited',
    'provider_error',
    'provider_unreachable',
    'stream_cut',
    'executor_error',
    'executor_exited',
    'executor_killed',
    'executor_unavailable',
    'executor_disabled',
    'model_disabled',
    'model_not_allowed',
    'auth_not_allowed',
    'credentials_required',
    'workspace_invalid',
    'spawn_failed',
    'output_limit',
    'disk_full',
    'out_of_memory',
  ],
  cancelled: ['by_peer', 'by_stop'],
  timed_out: ['wall_clock', 'idle'],
  interrupted: ['host_lost'],
} as const;

export type Outcome = keyof typeof endings;
export type Reason<O extends Outcome = Outcome> = (typeof endings)[O][number];
export type Ending = { [O in Outcome]: { readonly outcome: O; readonly reason: Reason<O> } }[Outcome];

const outcomes = Object.keys(endings) as [Outcome, ...Outcome[]];
export const Outcome = z.enum(outcomes);
export const Reason = z.enum(outcomes.flatMap((outcome) => endings[outcome]) as [Reason, ...Reason[]]);

export const stopCauses = ['by_peer', 'by_stop', 'wall_clock', 'idle', 'output_limit', 'retry_limit'] as const;
/** Why the daemon itself began to end a turn. The first cause counts. */
export const StopCause = z.enum(stopCauses);
export type StopCause = z.infer<typeof StopCause>;

const count = z.int().nonnegative();

/** What was found at a turn's end; whatever is unknown is absent. */
export const Evidence = z.object({
  exitCode: z
    .int()
    .nullable()
    .optional()
    .describe('exit code of the executor; null when a signal ended it or nobody saw it end'),
  signal: z.string().nullable().optional().describe('signal that ended the executor'),
  exit: z.literal('unknown').optional().describe('nobody saw the executor end'),
  httpStatus: z.int().optional().describe('status of the provider’s last answer, as the executor told it'),
  message: z.string().optional().describe('the executor’s or the daemon’s own words'),
  terminal: z.string().optional().describe('the last lines on the turn’s terminal, if it failed'),
  swept: count.optional().describe('processes that outlived the executor and were ended'),
  oomKills: count.nullable().optional().describe('out-of-memory kills counted in the turn’s cgroup'),
  saidResult: z.boolean().optional().describe('the executor gave a final result'),
});
export type Evidence = z.infer<typeof Evidence>;

/** The kinds of tools of the Agent Client Protocol. */
const ToolKind = z.enum(['read', 'edit', 'delete', 'move', 'search', 'execute', 'think', 'fetch', 'other']);
export type ToolKind = z.infer<typeof ToolKind>;

/** How a call came that harnessd itself serves. */
const Via = z.enum(['mcp', 'rpc']).optional();

/** What an executor's parser can say. The Agent Client Protocol counterpart stands behind each in docs/protocol.md. */
export const executorEventData = {
  'executor.session': z.object({ sessionId: z.string(), model: z.string().optional(), version: z.string().optional() }),
  'message.added': z.object({
    text: z.string(),
    messageId: z.string().optional(),
    parentCallId: z.string().optional(),
  }),
  'thought.added': z.object({
    text: z.string(),
    messageId: z.string().optional(),
    parentCallId: z.string().optional(),
  }),
  'message.delta': z
    .object({ text: z.string(), messageId: z.string().optional() })
    .describe('a part of a message while it is written; `message.added` follows with the whole'),
  'tool.called': z.object({
    callId: z.string(),
    name: z.string(),
    input: z.unknown().describe('one over `tools.eventBytes`: the beginning of its JSON, as text'),
    bytes: count.optional().describe('length of the whole input as JSON, when only its beginning is here'),
    kind: ToolKind.optional().describe('where it is known'),
    paths: z.array(z.string()).optional().describe('files that the call names, as the executor names them'),
    parentCallId: z.string().optional(),
    via: Via.describe(
      'a call that harnessd itself serves, to the executor or to a peer; absent where the executor tells of one',
    ),
  }),
  'tool.output': z
    .object({ callId: z.string(), text: z.string() })
    .describe('a part of a tool’s output while it runs; `tool.finished` follows with the whole'),
  'tool.finished': z.object({
    callId: z.string(),
    outcome: z.enum(['ok', 'error']),
    output: z.string(),
    bytes: count.optional().describe('length of the whole output, when only its beginning is here'),
    via: Via.describe('as in `tool.called`'),
    exitCode: z.int().optional().describe('where the executor tells it'),
  }),
  'plan.updated': z
    .object({
      entries: z.array(z.object({ text: z.string(), status: z.enum(['pending', 'in_progress', 'completed']) })),
    })
    .describe('the executor’s whole list of steps, each time it changes'),
  'usage.reported': z.object({
    model: z.string().optional().describe('as the executor tells it; else that of the turn'),
    inputTokens: count.describe('neither read from a cache nor written to one'),
    outputTokens: count,
    cacheReadTokens: count,
    cacheWriteTokens: count,
    costUsd: z.number().nonnegative().optional().describe('as the executor reckons it'),
  }),
  'retry.announced': z.object({
    attempt: count,
    maxAttempts: count.optional(),
    delayMs: z.number().nonnegative().optional(),
    httpStatus: z.int().optional(),
    message: z.string(),
  }),
  'warning.raised': z.object({ code: z.string(), message: z.string() }),
  'executor.unparsed': z.object({
    text: z.string(),
    partial: z.boolean().optional().describe('the executor ended in the middle of this line'),
    bytes: count.optional().describe('length of the whole line, when only its beginning is kept'),
  }),
} as const;

/** Why a queued turn does not start. */
export const WaitReason = z.enum(['workspace_busy', 'concurrency_limit', 'credentials_required', 'credential_in_use']);
export type WaitReason = z.infer<typeof WaitReason>;

const credentialKey = {
  executor: z.string(),
  mode: PaymentMode,
  member: z.string().optional(),
};

/** Why a call of one of harnessd's own tools ended before its tool had. */
export const InterruptReason = z.enum(['cancelled', 'timeout', 'turn_ended', 'daemon_stopping', 'daemon_restarted']);
export type InterruptReason = z.infer<typeof InterruptReason>;

const daemonEventData = {
  'task.created': z.object({ workspace: z.string() }),
  'turn.queued': z.object({ prompt: z.string(), executor: z.string(), model: z.string() }),
  'turn.started': z.object({
    executor: z.string(),
    model: z.string(),
    version: z.string().optional().describe('of the executor'),
    resumes: z.string().optional().describe('the executor session that it goes on with'),
    provider: z.enum(['offline', 'configured']).describe('offline: the scripted model that is part of harnessd'),
    mode: PaymentMode.describe('how it is paid'),
    member: z.string().optional().describe('whose subscription pays, or on whose behalf it runs'),
    deadlineAt: z.int().describe('milliseconds since the epoch'),
  }),
  'turn.handed_over': z
    .object({ text: z.string(), turns: z.array(TurnId).describe('the turns that it tells of') })
    .describe('what the executor was told, before the prompt, of turns in the workspace that it had not seen'),
  'turn.running': z.object({ terminalId: z.string(), pid: z.int(), containment: z.string() }),
  'turn.stopping': z.object({ cause: StopCause }),
  'turn.ended': z.object({ outcome: Outcome, reason: Reason, evidence: Evidence }),
  'turn.waiting': z
    .object({ reason: WaitReason })
    .describe('why a queued turn does not start yet; told when the reason changes'),
  'policy.changed': z.object({}).describe('`policy.get` tells what holds now'),
  'credential.changed': z.object({ ...credentialKey, given: z.boolean().describe('false: cleared') }),
  'credential.refreshed': z
    .object({ ...credentialKey, refreshId: z.string() })
    .describe('an executor changed the credential file it was given: fetch it with `credential.refreshed`'),
  'tool.interrupted': z
    .object({ callId: z.string(), reason: InterruptReason })
    .describe('a call that harnessd served ended before its tool had; it is not run again'),
  'event.erased': z.object({}).describe('stands where an event of a deleted task was, so that ids have no gap'),
  'task.deleted': z.object({}),
} as const;

export const eventData = { ...executorEventData, ...daemonEventData } as const;

type Event<Table extends Record<string, z.ZodType>> = {
  [T in keyof Table & string]: { readonly type: T; readonly data: z.infer<Table[T]> };
}[keyof Table & string];

export type ExecutorEvent = Event<typeof executorEventData>;
export type NewEvent = Event<typeof eventData>;
export type EventType = NewEvent['type'];

/** An event as a peer sees it. */
export const StoredEvent = z.object({
  id: z.int().positive().describe('counts every event of the computer, without gaps'),
  seq: z
    .int()
    .positive()
    .nullable()
    .describe('counts the events of the task, without gaps; null for an event of the computer itself'),
  taskId: TaskId.nullable(),
  turnId: TurnId.nullable(),
  at: z.int().describe('milliseconds since the epoch'),
  type: z.enum(Object.keys(eventData) as [EventType, ...EventType[]]),
  data: z.record(z.string(), z.unknown()).describe('by type: see the table of events'),
});
export type StoredEvent = z.infer<typeof StoredEvent>;
