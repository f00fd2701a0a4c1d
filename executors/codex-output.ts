import { z } from 'zod';

/** What Codex 0.169.0 prints with `exec --json`, as far as it is used; other fields pass. */
const status = z.enum(['in_progress', 'completed', 'failed', 'declined']);

const Command = z.object({
  id: z.string(),
  type: z.literal('command_execution'),
  command: z.string(),
  aggregated_output: z.string(),
  exit_code: z.int().nullish(),
  status,
});
const FileChange = z.object({
  id: z.string(),
  type: z.literal('file_change'),
  changes: z.array(z.object({ path: z.string(), kind: z.string() })),
  status,
});
const McpCall = z.object({
  id: z.string(),
  type: z.literal('mcp_tool_call'),
  server: z.string(),
  tool: z.string(),
  arguments: z.unknown().optional(),
  result: z.object({ content: z.array(z.unknown()) }).nullish(),
  error: z.object({ message: z.string() }).nullish(),
  status,
});
/** A call to one of its own sub-agents, of whose work it prints nothing else. */
const AgentCall = z.object({
  id: z.string(),
  type: z.literal('collab_tool_call'),
  tool: z.string(),
  prompt: z.string().nullish(),
  receiver_thread_ids: z.array(z.string()),
  agents_states: z.record(z.string(), z.object({ message: z.string().nullish() })),
  status,
});
const WebSearch = z.object({
  id: z.string(),
  type: z.literal('web_search'),
  query: z.string(),
  action: z.unknown().optional(),
});

export const Call = z.discriminatedUnion('type', [Command, FileChange, McpCall, AgentCall, WebSearch]);
export type Call = z.infer<typeof Call>;

const Item = z.discriminatedUnion('type', [
  ...Call.options,
  z.object({ type: z.enum(['agent_message', 'reasoning']), text: z.string() }),
  z.object({
    type: z.literal('todo_list'),
    items: z.array(z.object({ text: z.string(), completed: z.boolean() })),
  }),
  z.object({ type: z.literal('error'), message: z.string() }),
]);
export type Item = z.infer<typeof Item>;

const count = z.int().nonnegative();

/** Of the whole thread, earlier turns included. `input_tokens` counts what was read from a cache or written to one as well. */
export const Usage = z.object({
  input_tokens: count,
  cached_input_tokens: count.default(0),
  cache_write_input_tokens: count.default(0),
  output_tokens: count,
});
export type Usage = z.infer<typeof Usage>;

export const Line = z.discriminatedUnion('type', [
  z.object({ type: z.literal('thread.started'), thread_id: z.string() }),
  z.object({ type: z.literal('turn.started') }),
  z.object({ type: z.enum(['item.started', 'item.updated', 'item.completed']), item: Item }),
  z.object({ type: z.literal('error'), message: z.string() }),
  z.object({ type: z.literal('turn.completed'), usage: Usage }),
  z.object({ type: z.literal('turn.failed'), error: z.object({ message: z.string() }) }),
]);
export type Line = z.infer<typeof Line>;
