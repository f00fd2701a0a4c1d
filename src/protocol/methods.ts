import { z } from 'zod';
import { Evidence, Outcome, Reason, StopCause, StoredEvent, WaitReason } from './events.ts';
import { RequestId, TaskId, TerminalId, TurnId } from './ids.ts';
import { ToolEffect } from './tool-effect.ts';
import { ExecutorId, ModelId } from './policy.ts';
import { ruleMethods } from './rule-methods.ts';
import { turnParams } from './turn-params.ts';

const Cursor = z.int().nonnegative().default(0);
const timestamp = z.int().describe('milliseconds since the epoch');
const JsonSchema = z.record(z.string(), z.unknown()).describe('a JSON Schema');

const TurnSummary = z.object({
  turnId: TurnId,
  ordinal: z.int().positive(),
  executor: z.string(),
  model: z.string(),
  member: z.string().optional(),
  prompt: z.string().describe('the first 200 characters'),
  state: z.enum(['queued', 'launching', 'running', 'ended']),
  waiting: z
    .object({
      reason: WaitReason,
      position: z
        .int()
        .positive()
        .describe(
          'place in its line, 1 is next: among the turns of its workspace, or with `concurrency_limit` among all that wait for room',
        ),
    })
    .optional()
    .describe('why a queued turn does not start'),
  stopping: StopCause.optional(),
  outcome: Outcome.optional(),
  reason: Reason.optional(),
  evidence: Evidence.optional(),
  queuedAt: timestamp,
  startedAt: timestamp.optional(),
  endedAt: timestamp.optional(),
});
export type TurnSummary = z.infer<typeof TurnSummary>;

const TaskSummary = z.object({
  taskId: TaskId,
  workspace: z.string(),
  createdAt: timestamp,
  latestSeq: z.int().nonnegative(),
  turns: z.array(TurnSummary),
});
export type TaskSummary = z.infer<typeof TaskSummary>;

const TurnRef = z.object({ taskId: TaskId, turnId: TurnId });

const Subscribed = z.object({
  subscription: z.string().describe('names the subscription in `events` notifications'),
  latest: z.int().nonnegative().describe('position of the newest event now; what is older is a replay'),
});

const TerminalSummary = z.object({
  terminalId: TerminalId,
  taskId: TaskId,
  bytes: z.int().nonnegative().describe('length of the journal'),
  running: z.boolean(),
});

export const methods = {
  'daemon.info': {
    summary: 'Who answers: version, computer, runtime.',
    params: z.strictObject({}),
    result: z.object({
      version: z.string(),
      protocol: z.literal('harness.v1'),
      computerId: z.string().describe('kept for the life of the state directory'),
      bootId: z.string().describe('new at every start of the daemon; information only'),
      pid: z.int(),
      startedAt: timestamp,
      node: z.string(),
      libuv: z.string(),
      containment: z.string().describe('how the end of a turn is enforced: `cgroup` or `weak`'),
      isolation: z.literal('none').describe('turns run under the daemon’s own user'),
      latestId: z.int().nonnegative(),
      defaultExecutor: z.string(),
    }),
  },
  'daemon.stop': {
    summary: 'Ends the daemon. Turns run on and are found again by the next start, unless they are to be ended.',
    params: z.strictObject({ endTurns: z.boolean().default(false) }),
    result: z.object({ running: z.int().nonnegative().describe('turns that run on') }),
  },
  'task.create': {
    summary: 'Records a task and its first turn. The same id with the same body is answered again and does nothing.',
    params: z.strictObject({
      id: TaskId.optional().describe('chosen by the client, so that a retry acts once'),
      ...turnParams,
      executor: ExecutorId.optional().describe('default: `executors.default` of the configuration'),
      model: ModelId.optional().describe('default: the executor’s'),
      workspace: z
        .string()
        .max(4096)
        .optional()
        .describe('absolute path of a directory; default: a new one for the task'),
    }),
    result: TurnRef,
  },
  'task.prompt': {
    summary:
      'Adds a turn, which goes on with the executor’s conversation. It waits for the turns of its workspace before it.',
    params: z.strictObject({
      taskId: TaskId,
      id: RequestId.optional().describe('chosen by the client, so that a retry acts once'),
      ...turnParams,
      member: turnParams.member.describe('default: that of the turn before'),
      executor: ExecutorId.optional().describe('default: that of the turn before; another one is told what was done'),
      model: ModelId.optional().describe('default: that of the turn before, if the executor is the same'),
    }),
    result: TurnRef,
  },
  'task.get': { summary: 'One task with its turns.', params: z.strictObject({ taskId: TaskId }), result: TaskSummary },
  'task.list': {
    summary: 'Tasks, the newest first, each with its latest turn only.',
    params: z.strictObject({
      limit: z.int().min(1).max(500).default(100),
      before: TaskId.optional().describe('the last task of the page before'),
    }),
    result: z.object({ tasks: z.array(TaskSummary), more: z.boolean() }),
  },
  'task.cancel': {
    summary:
      'Cancels the turns of a task that have not ended. Answers when that is recorded; `turn.ended` tells when it is done.',
    params: z.strictObject({ taskId: TaskId }),
    result: z.object({ cancelled: z.array(TurnId) }),
  },
  'task.delete': {
    summary:
      'Deletes an ended task: its events, terminals and private files. Its workspace stays, unless the daemon made it.',
    params: z.strictObject({ taskId: TaskId }),
    result: z.object({ deleted: z.literal(true) }),
  },
  'task.subscribe': {
    summary: 'Sends the task’s events after a position, then new ones as they are recorded.',
    params: z.strictObject({ taskId: TaskId, after: Cursor.describe('the last `seq` that the peer has') }),
    result: Subscribed,
  },
  'event.subscribe': {
    summary: 'Sends all events after a position, then new ones as they are recorded.',
    params: z.strictObject({ after: Cursor.describe('the last `id` that the peer has') }),
    result: Subscribed,
  },
  'event.unsubscribe': {
    summary: 'Ends a subscription.',
    params: z.strictObject({ subscription: z.string() }),
    result: z.object({}),
  },
  'terminal.list': {
    summary: 'Terminals, or those of one task.',
    params: z.strictObject({ taskId: TaskId.optional(), limit: z.int().min(1).max(500).default(100) }),
    result: z.object({ terminals: z.array(TerminalSummary) }),
  },
  'terminal.read': {
    summary: 'Bytes of a terminal’s journal. They come in one binary frame, sent just before the answer.',
    params: z.strictObject({
      terminalId: TerminalId,
      offset: z.int().nonnegative().default(0),
      maxBytes: z.int().min(1).max(1_048_576).default(65_536),
    }),
    result: z.object({
      offset: z.int().nonnegative().describe('of the first byte in the frame'),
      bytes: z.int().nonnegative().describe('in the frame; 0 when there is none after the offset yet'),
      end: z.int().nonnegative().describe('length of the journal now'),
      missing: z.int().nonnegative().describe('bytes from the asked offset on that are gone'),
    }),
  },
  'tool.list': {
    summary: 'The tools of this computer, the same that executors have.',
    params: z.strictObject({}),
    result: z.object({
      tools: z.array(
        z.object({
          name: z.string(),
          summary: z.string(),
          effect: ToolEffect,
          inputSchema: JsonSchema,
          outputSchema: JsonSchema,
        }),
      ),
    }),
  },
  'tool.call': {
    summary:
      'Runs a tool. A call without an id ends with its request or connection; one with an id goes on, and the same id with the same body gets its answer, whenever that is there.',
    params: z.strictObject({
      name: z.string().min(1).max(128),
      input: z.record(z.string(), z.unknown()).default({}).describe('what the tool’s `inputSchema` says'),
      id: RequestId.optional().describe('chosen by the client, so that a retry acts once'),
      taskId: TaskId.optional().describe('whose workspace and events it is for; default: the computer’s'),
    }),
    result: z.object({
      callId: z.string().describe('as in the events; the client’s id if it gave one'),
      output: z.record(z.string(), z.unknown()).describe('what the tool’s `outputSchema` says'),
    }),
  },
  ...ruleMethods,
} as const satisfies Record<string, { summary: string; params: z.ZodType; result: z.ZodType }>;

export type MethodName = keyof typeof methods;
export type Params<M extends MethodName> = z.infer<(typeof methods)[M]['params']>;
/** What a client may leave out, it may leave out here. */
export type ParamsIn<M extends MethodName> = z.input<(typeof methods)[M]['params']>;
export type Result<M extends MethodName> = z.infer<(typeof methods)[M]['result']>;

/** What the daemon sends unasked. */
export const notifications = {
  events: {
    summary: 'Events of a subscription, in order. The next ones follow when the peer has taken these.',
    params: z.object({ subscription: z.string(), events: z.array(StoredEvent) }),
  },
  'subscription.failed': {
    summary: 'A subscription ended by a fault of the daemon; subscribe again from the last event.',
    params: z.object({ subscription: z.string(), message: z.string() }),
  },
} as const;

export const subprotocol = 'harness.v1';
