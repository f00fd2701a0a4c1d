import { isAbsolute } from 'node:path';
import { constants } from 'node:os';
import { HostError } from './host-error.ts';
import { terminalId, type EndRequest, type SpawnRequest } from './protocol.ts';

/** Linux: one argument or variable with its end (MAX_ARG_STRLEN), and all of them together (a quarter of an 8 MiB stack). */
const maxWordBytes = 128 * 1024 - 1;
const maxWordsBytes = 2 * 1024 * 1024 - 64 * 1024;

/** Checks what came over the socket; the error names the field. */
export function parseSpawnRequest(params: unknown): SpawnRequest {
  const { id, argv, env, cwd, cols, rows, redirect, marker, mask, graceMs } = record(params, 'params');
  const variables = Object.entries(record(env, 'env')).map(([name, value]) => {
    if (name === '' || name.includes('=') || name.includes('\0')) refuse(`env: ${JSON.stringify(name)} is no name`);
    return [name, word(value, `env.${name}`)] as const;
  });
  const words = list(argv, 'argv').map((value, index) => word(value, `argv[${index}]`));
  if (words.length === 0 || words[0] === '') refuse('argv: names no program');
  const markerFields = record(marker, 'marker');
  const files = redirect === undefined ? undefined : record(redirect, 'redirect');
  const request: SpawnRequest = {
    id: parseId(id),
    argv: words,
    env: Object.fromEntries(variables),
    cwd: path(cwd, 'cwd'),
    cols: integer(cols, 'cols', 1, 65_535),
    rows: integer(rows, 'rows', 1, 65_535),
    ...(files && {
      redirect: { stdin: path(files['stdin'], 'redirect.stdin'), capture: path(files['capture'], 'redirect.capture') },
    }),
    marker: { name: word(markerFields['name'], 'marker.name'), value: word(markerFields['value'], 'marker.value') },
    mask: list(mask, 'mask').map((value, index) =>
      typeof value === 'string' ? value : refuse(`mask[${index}]: no string`),
    ),
    graceMs: integer(graceMs, 'graceMs', 0, 3_600_000),
  };
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(request.marker.name)) refuse('marker.name: no name of a variable');
  const strings = [...request.argv, ...variables.map(([name, value]) => `${name}=${value}`)];
  const bytes = strings.reduce((sum, string) => sum + Buffer.byteLength(string) + 1 + 8, 0);
  if (bytes > maxWordsBytes) refuse(`argv and env: ${bytes} bytes are more than the ${maxWordsBytes} allowed`);
  return request;
}

export function parseEndRequest(params: unknown): EndRequest {
  const { id, signal, graceMs } = record(params, 'params');
  const wanted = { id: parseId(id), graceMs: integer(graceMs, 'graceMs', 0, 3_600_000) };
  if (signal === undefined) return wanted;
  if (typeof signal !== 'string' || !isSignal(signal)) refuse('signal: unknown');
  return { ...wanted, signal };
}

export function parseId(id: unknown): string {
  return typeof id === 'string' && terminalId.test(id) ? id : refuse('id: must be 1 to 64 of A-Z a-z 0-9 _ -');
}

export function record(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`${field}: must be an object`);
  return value as Record<string, unknown>; // just checked
}

function list(value: unknown, field: string): unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : refuse(`${field}: must be a list`);
}

/** What can stand in a child's argv or environment. */
function word(value: unknown, field: string): string {
  if (typeof value !== 'string') refuse(`${field}: must be a string`);
  if (value.includes('\0')) refuse(`${field}: contains a NUL`);
  if (Buffer.byteLength(value) + Buffer.byteLength(field) > maxWordBytes)
    refuse(`${field}: longer than ${maxWordBytes} bytes`);
  return value;
}

function path(value: unknown, field: string): string {
  const text = word(value, field);
  return isAbsolute(text) ? text : refuse(`${field}: must be an absolute path`);
}

function integer(value: unknown, field: string, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  return refuse(`${field}: must be a whole number from ${min} to ${max}`);
}

function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name);
}

function refuse(message: string): never {
  throw new HostError('bad_request', message);
}
