import { z } from 'zod';

/** What Claude Code 2.1.330 prints with `--output-format stream-json --verbose --include-partial-messages`, as far as it is used; other fields pass. */
const Parent = { parent_tool_use_id: z.string().nullish() };
export const ToolOutput = z.union([z.string(), z.array(z.unknown())]);

export const AssistantBlock = z.union([
  z.object({ type: z.literal('text'), text: z.string() }),
  z.object({ type: z.literal('thinking'), thinking: z.string() }),
  z.object({ type: z.literal('redacted_thinking') }),
  z.object({ type: z.literal('tool_use'), id: z.string(), name: z.string(), input: z.unknown() }),
]);
const UserBlock = z.union([
  z.object({
    type: z.literal('tool_result'),
    tool_use_id: z.string(),
    content: ToolOutput.optional(),
    is_error: z.boolean().nullish(),
  }),
  z.object({ type: z.enum(['text', 'image', 'document']) }),
]);
export const ModelUsage = z.object({
  inputTokens: z.int(),
  outputTokens: z.int(),
  cacheReadInputTokens: z.int().default(0),
  cacheCreationInputTokens: z.int().default(0),
  costUSD: z.number().optional(),
});
const Retry = z.object({
  type: z.literal('system'),
  subtype: z.literal('api_retry'),
  attempt: z.int(),
  max_retries: z.int().optional(),
  retry_delay_ms: z.number().optional(),
  error_status: z.int().nullish(),
  error: z.string().optional(),
});
export const Result = z.object({
  type: z.literal('result'),
  is_error: z.boolean(),
  api_error_status: z.int().nullish(),
  terminal_reason: z.string().nullish(),
  result: z.string().nullish(),
  errors: z.array(z.string()).optional(),
  modelUsage: z.record(z.string(), ModelUsage).default({}),
  model_usage_since_last_result: z.record(z.string(), ModelUsage).optional(),
});
export type Result = z.infer<typeof Result>;

/** What the provider streams, as it comes; `assistant` and `user` lines tell all of it in whole. */
const StreamEvent = z.object({
  type: z.literal('stream_event'),
  event: z.union([
    z.object({
      type: z.literal('content_block_delta'),
      delta: z.object({ type: z.literal('text_delta'), text: z.string() }),
    }),
    z.object({
      type: z.enum([
        'message_start',
        'content_block_start',
        'content_block_delta',
        'content_block_stop',
        'message_delta',
        'message_stop',
        'ping',
        'error',
      ]),
      delta: z.undefined().catch(undefined),
    }),
  ]),
  api_message_id: z.string().optional(),
  ...Parent,
});
export type StreamEvent = z.infer<typeof StreamEvent>;

export const Line = z.union([
  StreamEvent,
  Retry,
  z.object({
    type: z.literal('system'),
    subtype: z.literal('init'),
    session_id: z.string(),
    model: z.string().optional(),
    claude_code_version: z.string().optional(),
  }),
  z.object({
    type: z.literal('system'),
    subtype: z.literal('permission_denied'),
    tool_name: z.string(),
    message: z.string(),
  }),
  z.object({ type: z.literal('system'), subtype: z.literal('compact_boundary') }),
  z.object({
    type: z.literal('system'),
    // Progress of what other lines tell in full.
    subtype: z.enum([
      'thinking_tokens',
      'task_started',
      'task_progress',
      'task_updated',
      'task_notification',
      'background_tasks_changed',
      'status',
    ]),
  }),
  z.object({
    type: z.literal('assistant'),
    message: z.object({ id: z.string().optional(), model: z.string().optional(), content: z.array(AssistantBlock) }),
    ...Parent,
  }),
  z.object({
    type: z.literal('user'),
    message: z.object({ content: z.union([z.string(), z.array(UserBlock)]) }),
    tool_use_result: z.unknown().optional(),
    ...Parent,
  }),
  z.object({ type: z.literal('rate_limit_event') }),
  Result,
]);
export type Line = z.infer<typeof Line>;
export type AssistantBlock = z.infer<typeof AssistantBlock>;
