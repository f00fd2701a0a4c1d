import { z } from 'zod';

/** What Claude Code 2.1.330 prints with `--output-format stream-json --verbose --include-partial-messages`, as far as it is used; other fields pass. */
const count = z.int().nonnegative();
const Parent = { parent_tool_use_id: z.string().nullish() };
export const ToolOutput = z.union([z.string(), z.array(z.unknown())]).nullish();

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
    content: ToolOutput,
    is_error: z.boolean().nullish(),
  }),
  z.object({ type: z.enum(['text', 'image', 'document']) }),
  // Beside a tool's result, which must not be lost with it.
  z
    .looseObject({ type: z.string().refine((type) => type !== 'tool_result') })
    .transform((told) => ({ type: 'unknown' as const, told })),
]);
export type UserBlock = z.infer<typeof UserBlock>;
export const ModelUsage = z.object({
  inputTokens: count,
  outputTokens: count,
  cacheReadInputTokens: count.default(0),
  cacheCreationInputTokens: count.default(0),
  costUSD: z.number().nonnegative().optional(),
});
const Retry = z.object({
  attempt: count,
  max_retries: count.optional(),
  retry_delay_ms: z.number().nonnegative().optional(),
  error_status: z.int().nullish(),
  error: z.string().optional(),
  error_category: z.string().optional(),
});
export type Retry = z.infer<typeof Retry>;
export const Result = z.object({
  type: z.literal('result'),
  is_error: z.boolean(),
  api_error_status: z.int().nullish(),
  api_error_type: z.string().nullish(),
  api_error: z.string().nullish(),
  stop_reason: z.string().nullish(),
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
  Retry.extend({ type: z.literal('system'), subtype: z.literal('api_retry') }),
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
  z.object({ type: z.literal('system'), subtype: z.literal('informational'), content: z.string() }),
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
      'hook_started',
      'hook_progress',
      'hook_response',
      'model_refusal_no_fallback',
    ]),
  }),
  z.object({
    type: z.literal('assistant'),
    message: z.object({ id: z.string().optional(), model: z.string().optional(), content: z.array(AssistantBlock) }),
    error: z.string().optional(),
    ...Parent,
  }),
  z.object({
    type: z.literal('user'),
    message: z.object({ content: z.union([z.string(), z.array(UserBlock)]) }),
    tool_use_result: z.unknown().optional(),
    ...Parent,
  }),
  z.object({ type: z.literal('tool_progress'), subagent_retry: Retry.optional() }),
  z.object({ type: z.literal('rate_limit_event') }),
  Result,
]);
export type Line = z.infer<typeof Line>;
export type AssistantBlock = z.infer<typeof AssistantBlock>;
