import type { z } from 'zod';
import type { Step } from './executor.ts';

/** A parser's `line` for CLIs that print one JSON object a line. What is not JSON, or not of the schema, is kept as it came. */
export function jsonLine<State, Line>(
  schema: z.ZodType<Line>,
  handle: (state: State, line: Line) => Step<State> | undefined,
): (state: State, line: string) => Step<State> {
  return (state, text) => {
    const parsed = schema.safeParse(parseJson(text));
    const step = parsed.success ? handle(state, parsed.data) : undefined;
    return step ?? { state, events: text.trim() === '' ? [] : [{ type: 'executor.unparsed', data: { text } }] };
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // fits no schema
  }
}
