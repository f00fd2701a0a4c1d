/** Reading what others sent, and server-sent events to answer with. */
import type { JsonObject } from './script.ts';

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The objects of a list; nothing of what is no list. */
export function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** The text of a content that is a string or a list of parts, of which only those with a text count. */
export function textIn(content: unknown): string {
  if (typeof content === 'string') return content;
  return objects(content)
    .flatMap(({ text }) => (typeof text === 'string' ? [text] : []))
    .join('\n');
}

export function serverSentEvent(data: JsonObject | string, name?: string): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return `${name === undefined ? '' : `event: ${name}\n`}data: ${text}\n\n`;
}

/** The least that follows a JSON schema: the first of what may be chosen, else the text given, zero, false or nothing. */
export function fillSchema(schema: JsonObject, text: string): unknown {
  const { type, enum: choices, properties, required } = schema;
  if (Array.isArray(choices)) return choices[0] as unknown;
  switch (String(type).toLowerCase()) {
    case 'object': {
      const known = isObject(properties) ? properties : {};
      const names = Array.isArray(required) ? required.map(String) : Object.keys(known);
      return Object.fromEntries(
        names.map((name) => {
          const property = known[name];
          return [name, fillSchema(isObject(property) ? property : {}, text)];
        }),
      );
    }
    case 'array':
      return [];
    case 'number':
    case 'integer':
      return 0;
    case 'boolean':
      return false;
    default:
      return text;
  }
}
