import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { closest } from '../base/closest.ts';
import { errnoOf } from '../base/files.ts';
import { DaemonError } from '../protocol/errors.ts';
import { listOptions, otherVariables, type OptionName } from './options.ts';
import { Config, defaultStateDir } from './schema.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface ConfigSources {
  /** What `--config` names. */
  readonly file?: string;
  readonly env: Env;
  /** By key: `listen.port`. */
  readonly flags: Readonly<Record<string, string | undefined>>;
}

/** A value as it was found, and where. */
interface Found {
  readonly value: unknown;
  /** For messages: `HARNESSD_LISTEN_PORT`, `--listen-port`, `listen.port in /etc/harnessd.json`. */
  readonly where: string;
  /** What a relative path is relative to. */
  readonly folder: string;
}

type Layer = Map<string, Found>;

/** Unix sockets live below it, and their paths may have about 104 bytes. */
const maxStateDirBytes = 80;

/** The configuration of `harnessd serve`: flags over environment over file over defaults. */
export function loadConfig({ file, env, flags }: ConfigSources): Config {
  const options = listOptions();
  const named = new Map([...envLayer(env, options), ...flagLayer(flags, options)]);
  const found = new Map([...fileLayer(fileOf({ file, env, named }), options), ...named]);

  for (const { key } of options.filter(({ isPath }) => isPath)) {
    const path = found.get(key);
    if (typeof path?.value === 'string') found.set(key, { ...path, value: resolve(path.folder, path.value) });
  }
  if (!found.has('stateDir'))
    found.set('stateDir', { value: resolve(defaultStateDir(env)), where: 'stateDir (default)', folder: '' });

  const parsed = Config.safeParse(nest(found), { jitless: true }); // read once: compiling it would take longer
  if (!parsed.success) throw invalid(parsed.error.issues[0]!, found);
  checkStateDir(parsed.data.stateDir, found);
  return parsed.data;
}

/** The state directory alone, for commands that talk to a daemon. */
export function stateDirOf(flag: string | undefined, env: Env): string {
  return resolve(flag ?? (env['HARNESSD_STATE_DIR'] || defaultStateDir(env)));
}

function envLayer(env: Env, options: readonly OptionName[]): Layer {
  const byName = new Map(options.map((option) => [option.env, option.key]));
  const layer: Layer = new Map();
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('HARNESSD_') || name in otherVariables) continue;
    const key = byName.get(name);
    if (!key)
      throw unknown(`unknown environment variable ${name}`, name, [...byName.keys(), ...Object.keys(otherVariables)]);
    if (value) layer.set(key, { value, where: name, folder: '.' }); // an empty variable is one that is not set
  }
  return layer;
}

function flagLayer(flags: ConfigSources['flags'], options: readonly OptionName[]): Layer {
  const layer: Layer = new Map();
  for (const { key, flag } of options) {
    const value = flags[key];
    if (value !== undefined) layer.set(key, { value, where: flag, folder: '.' });
  }
  return layer;
}

interface ConfigFile {
  readonly path: string;
  /** A file that nobody named may be absent, and cannot move the directory in which it was found. */
  readonly isDefault: boolean;
}

function fileOf({ file, env, named }: { file: string | undefined; env: Env; named: Layer }): ConfigFile {
  const path = file ?? (env['HARNESSD_CONFIG'] || undefined);
  if (path !== undefined) return { path: resolve(path), isDefault: false };
  const stateDir = named.get('stateDir')?.value;
  return {
    path: resolve(typeof stateDir === 'string' ? stateDir : defaultStateDir(env), 'config.json'),
    isDefault: true,
  };
}

function fileLayer({ path, isDefault }: ConfigFile, options: readonly OptionName[]): Layer {
  const keys = options.map(({ key }) => key);
  const layer: Layer = new Map();
  for (const [key, value] of leavesOf(readJson(path, isDefault), keys, path)) {
    if (!keys.includes(key)) throw unknown(`unknown key ${key} in ${path}`, key, keys);
    if (key === 'stateDir' && isDefault)
      throw new DaemonError(
        'config_invalid',
        `stateDir in ${path}: this file is found through the state directory and cannot name it; use --config`,
      );
    layer.set(key, { value, where: `${key} in ${path}`, folder: dirname(path) });
  }
  return layer;
}

function readJson(path: string, isDefault: boolean): object {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (isDefault && ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return {};
    throw new DaemonError('config_invalid', `the configuration file ${path} cannot be read (${errnoOf(error)})`, {
      cause: error,
    });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new DaemonError('config_invalid', `the configuration file ${path} is not JSON: ${detail}`, { cause: error });
  }
  throw new DaemonError('config_invalid', `the configuration file ${path} must hold one JSON object`);
}

/** Dotted keys of what the file says; below a key that is a section it goes on, elsewhere it takes what it finds. */
function leavesOf(value: object, keys: readonly string[], file: string, prefix = ''): [string, unknown][] {
  return Object.entries(value).flatMap(([name, child]: [string, unknown]): [string, unknown][] => {
    const key = prefix + name;
    if (!keys.some((known) => known.startsWith(`${key}.`))) return [[key, child]];
    if (typeof child === 'object' && child !== null && !Array.isArray(child))
      return leavesOf(child, keys, file, `${key}.`);
    throw new DaemonError(
      'config_invalid',
      `${key} in ${file} is a section: it must hold a JSON object, not ${JSON.stringify(child)}`,
    );
  });
}

function nest(found: Layer): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const [key, { value }] of found) {
    const path = key.split('.');
    const last = path.pop()!;
    let section = root;
    for (const part of path) section = (section[part] ??= {}) as Record<string, unknown>; // made here, of nothing else
    section[last] = value;
  }
  return root;
}

function invalid(issue: z.core.$ZodIssue, found: Layer): DaemonError {
  const at = [...found.keys()].find((key) => `${issue.path.join('.')}.`.startsWith(`${key}.`));
  const { where, value } = (at && found.get(at)) || { where: issue.path.join('.'), value: undefined };
  const name = at && !where.startsWith(at) ? `${where} (${at})` : where;
  return new DaemonError('config_invalid', `${name} is ${JSON.stringify(value)}: ${issue.message}`, {
    data: { key: at ?? where },
  });
}

function unknown(message: string, word: string, candidates: readonly string[]): DaemonError {
  const near = closest(word, candidates);
  return new DaemonError('config_invalid', near ? `${message}; did you mean ${near}?` : message, {
    data: { key: word },
  });
}

function checkStateDir(stateDir: string, found: Layer): void {
  const bytes = Buffer.byteLength(stateDir);
  if (bytes <= maxStateDirBytes) return;
  throw new DaemonError(
    'config_invalid',
    `${found.get('stateDir')?.where ?? 'stateDir'}: the path of the state directory has ${bytes} bytes, and unix sockets below it allow ${maxStateDirBytes} at most: ${stateDir}`,
    { data: { key: 'stateDir' } },
  );
}
