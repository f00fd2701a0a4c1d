import type { z } from 'zod';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { ToolEffect } from '../protocol/tool-effect.ts';

export { DaemonError } from '../protocol/errors.ts';

/** Whose call it is: an executor's in one of its turns, or a peer's, perhaps for a task. */
export type ToolCaller =
  | { readonly kind: 'turn'; readonly taskId: TaskId; readonly turnId: TurnId }
  | { readonly kind: 'peer'; readonly taskId?: TaskId };

/** What a model is shown. */
export type ToolContent =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly data: string; readonly mimeType: string };

/** What tools may use of the daemon, one entry for each family that needs something; filled in by daemon.ts. */
export interface ToolServices {
  readonly computer: ComputerService;
}

/** What the daemon knows of its computer. */
export interface ComputerService {
  readonly version: string;
  readonly computerId: string;
  readonly containment: string;
  readonly isolation: string;
  readonly home: string;
  /** PATH of the executors, and so of the commands that they run. */
  readonly path: string;
  executors(): readonly { readonly executor: string; readonly version?: string; readonly available: boolean }[];
  /** Names of the tools. */
  tools(): readonly string[];
}

export interface ToolContext {
  readonly callId: string;
  readonly caller: ToolCaller;
  /** The directory of the caller's task. */
  readonly workspace?: string;
  /** Aborted when the call is cancelled or too long, when its turn ends, and when the daemon stops. */
  readonly signal: AbortSignal;
  readonly services: ToolServices;
  /** Tells whoever waits what is being done. */
  readonly progress: (text: string) => void;
}

/** Where a tool needs others than the configuration's `tools.*`. */
export interface ToolLimits {
  readonly timeoutMs?: number;
  /** Of the answer, as JSON. */
  readonly outputBytes?: number;
}

/** One capability: schemas and handler together. It throws a `DaemonError` for what is not as it should be; anything else is a fault of ours. */
export interface ToolDefinition<Input extends z.ZodObject, Output extends z.ZodObject> {
  /** As models see it: `family_verb`. */
  readonly name: string;
  readonly summary: string;
  readonly effect: ToolEffect;
  readonly input: Input;
  readonly output: Output;
  readonly limits?: ToolLimits;
  run(input: z.infer<Input>, context: ToolContext): Promise<z.input<Output>> | z.input<Output>;
  /** What a model is shown; default: the output as JSON. */
  show?(output: z.infer<Output>): readonly ToolContent[];
}

/** Any tool: who holds one from the registry cannot know its types, and has no need to. */
export type Tool = ToolDefinition<z.ZodObject, z.ZodObject>;

export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  definition: ToolDefinition<Input, Output>,
): Tool {
  return definition; // run() only ever gets what this input accepted, show() what this output did
}
