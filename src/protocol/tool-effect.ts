import { z } from 'zod';

/** What a call of a tool can do: look, change what is there, or start something. */
export const ToolEffect = z.enum(['read', 'write', 'execute']);
export type ToolEffect = z.infer<typeof ToolEffect>;
