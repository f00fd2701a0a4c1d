import { z } from 'zod';

/** What Gemini CLI 0.61.0 prints with `--output-format stream-json`, as far as it is used; other fields pass. */
const count = z.int().nonnegative();

/** `input_tokens` counts the whole prompt, `input` what of it was not cached; thoughts are counted in `total_tokens` alone. */
export const ModelStats = z.object({ total_tokens: count, input_tokens: count, cached: count, input: count });
export type ModelStats = z.infer<typeof ModelStats>;

export const Result = z.object({
  type: z.literal('result'),
  status: z.enum(['success', 'error']),
  error: z.object({ type: z.string(), message: z.string() }).optional(),
  stats: z.object({ models: z.record(z.string(), ModelStats) }).optional(),
});
export type Result = z.infer<typeof Result>;

export const Line = z.discriminatedUnion('type', [
  z.object({ type: z.literal('init'), session_id: z.string(), model: z.string().optional() }),
  z.object({ type: z.literal('message'), role: z.enum(['user', 'assistant']), content: z.string() }),
  z.object({ type: z.literal('tool_use'), tool_name: z.string(), tool_id: z.string(), parameters: z.unknown() }),
  z.object({
    type: z.literal('tool_result'),
    tool_id: z.string(),
    status: z.enum(['success', 'error']),
    output: z.string().optional(),
    error: z.object({ message: z.string() }).optional(),
  }),
  z.object({ type: z.literal('error'), severity: z.enum(['warning', 'error']), message: z.string() }),
  Result,
]);
export type Line = z.infer<typeof Line>;

const Status = z.enum(['pending', 'in_progress', 'completed', 'cancelled', 'blocked']);

/** What the tool `write_todos` is called with. */
export const Todos = z.object({ todos: z.array(z.object({ description: z.string(), status: Status })) });
