import { z } from 'zod';

/** Values of a closed list that are still told in the field's own line. */
const longList = 8;

type Json = z.core.JSONSchema.BaseSchema;

export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The fields of an object schema, those of the objects in a list below the list; '' when it has none. */
export function fieldTable(schema: z.ZodType, io: 'input' | 'output'): string {
  const rows = fieldRows(jsonSchema(schema, io), '');
  return rows.length === 0 ? '' : markdownTable(['field', 'type', 'meaning'], rows);
}

/** The fields in one cell: `sessionId` string, `model?` string. */
export function fieldsInShort(schema: z.ZodType): string {
  const rows = fieldRows(jsonSchema(schema, 'output'), '');
  return rows.map(([name, type, meaning]) => `${name} ${type}${meaning ? ` (${meaning})` : ''}`).join('; ') || '–';
}

export function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  return z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' });
}

function fieldRows(json: Json, prefix: string): [string, string, string][] {
  return Object.entries(json.properties ?? {}).flatMap(([name, child]) => {
    if (typeof child === 'boolean') return [];
    const isNeeded = json.required?.includes(name) ?? false;
    const row: [string, string, string] = [
      `\`${prefix}${name}${isNeeded ? '' : '?'}\``,
      typeOf(child),
      meaningOf(child),
    ];
    return typeof child.items === 'object' && !Array.isArray(child.items)
      ? [row, ...fieldRows(child.items, `${prefix}${name}[].`)]
      : [row];
  });
}

function typeOf(json: Json): string {
  if (json.const !== undefined) return `\`${JSON.stringify(json.const)}\``;
  if (json.enum && json.enum.length > longList) return 'string of a closed list, see below';
  if (json.enum) return json.enum.map((value) => `\`${String(value)}\``).join(' or ');
  if (json.anyOf) return json.anyOf.map((part) => typeOf(part)).join(' or ');
  if (json.type === 'array')
    return `array of ${typeof json.items === 'object' && !Array.isArray(json.items) ? typeOf(json.items) : 'any'}`;
  return json.type === undefined ? 'any' : [json.type].flat().join(' or ');
}

function meaningOf(json: Json): string {
  const isInteger = json.type === 'integer';
  const { minimum, maximum } = json;
  const low = isInteger && minimum !== undefined && minimum > Number.MIN_SAFE_INTEGER ? `at least ${minimum}` : '';
  const high = isInteger && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER ? `at most ${maximum}` : '';
  const value = json.default === undefined ? '' : `default ${JSON.stringify(json.default)}`;
  return [json.description ?? '', low, high, value].filter(Boolean).join('; ');
}
