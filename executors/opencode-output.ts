import { z } from 'zod';

/** What OpenCode 1.18.33 prints with `run --format json --thinking`, as far as it is used; other fields pass. */
const Said = z.object({ text: z.string(), messageID: z.string() });
/** `synthetic`: the CLI's own words in the user's place. */
const Text = Said.extend({
  synthetic: z.boolean().optional(),
  metadata: z.object({ compaction_continue: z.boolean().optional() }).optional(),
});

const count = z.uint32(); // two together are a count as well
const Used = z.object({
  tokens: z.object({
    input: count,
    output: count,
    reasoning: count.default(0),
    cache: z.object({ read: count, write: count }),
  }),
  cost: z.number().nonnegative().default(0),
});
export type Used = z.infer<typeof Used>;

const ToolState = z.union([
  z.object({
    status: z.literal('completed'),
    input: z.record(z.string(), z.unknown()),
    output: z.string(),
    metadata: z.object({ exit: z.int().nullish() }).optional(),
  }),
  z.object({ status: z.literal('error'), input: z.record(z.string(), z.unknown()), error: z.string() }),
]);

export const ErrorOf = z.object({
  name: z.string(),
  data: z.object({ message: z.string().optional(), statusCode: z.int().optional() }).default({}),
});
export type ErrorOf = z.infer<typeof ErrorOf>;

const sessionID = z.string();

export const Line = z.discriminatedUnion('type', [
  z.object({ type: z.literal('step_start'), sessionID }),
  z.object({ type: z.literal('text'), sessionID, part: Text }),
  z.object({ type: z.literal('reasoning'), sessionID, part: Said }),
  z.object({
    type: z.literal('tool_use'),
    sessionID,
    part: z.object({ tool: z.string(), callID: z.string(), state: ToolState }),
  }),
  z.object({
    type: z.literal('step_finish'),
    sessionID,
    part: Used.extend({ reason: z.string() }),
  }),
  z.object({ type: z.literal('error'), sessionID, error: ErrorOf }),
  // What our own plugin in the CLI adds.
  z.object({ type: z.literal('harnessd.session'), sessionID }),
  z.object({
    type: z.literal('harnessd.tool'),
    sessionID,
    tool: z.string(),
    callID: z.string(),
    input: z.record(z.string(), z.unknown()),
  }),
  z.object({ type: z.literal('harnessd.step'), part: Used }), // of a sub-agent
  z.object({
    type: z.literal('harnessd.retry'),
    attempt: count,
    message: z.string(),
    delayMs: z.number().nonnegative(),
    answered: z.int().optional(),
  }),
]);
export type Line = z.infer<typeof Line>;
export type ToolPart = Extract<Line, { type: 'tool_use' }>['part'];
