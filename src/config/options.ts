import { z } from 'zod';
import { Config } from './schema.ts';

/** One leaf of the configuration by each of its names. */
export interface OptionName {
  /** In the file: `listen.port`. */
  readonly key: string;
  /** `HARNESSD_LISTEN_PORT` */
  readonly env: string;
  /** `--listen-port` */
  readonly flag: string;
  readonly isPath: boolean;
}

/** The same for people. */
export interface Option extends OptionName {
  readonly type: string;
  /** As JSON; absent when there is none that the schema knows. */
  readonly default?: string;
  readonly description: string;
}

/** Variables with our prefix that are no options. */
export const otherVariables = {
  HARNESSD_CONFIG: 'path of the configuration file',
  HARNESSD_URL: 'address of the daemon, for the command line',
  HARNESSD_TOKEN: 'token for the daemon, for the command line',
  HARNESSD_TURN: 'set by the daemon in every process of a turn: the id of the turn',
} as const satisfies Record<string, string>;

/** Every option, in the order of the schema. */
export function listOptions(): OptionName[] {
  return leavesOf(Config, []).map(nameOf);
}

/** Takes as long as a tenth of a start, so that only help and documentation ask for it. */
export function describeOptions(): Option[] {
  return leavesOf(Config, []).map((leaf) => {
    const json = z.toJSONSchema(leaf.schema, { io: 'output', unrepresentable: 'any' });
    return {
      ...nameOf(leaf),
      type: typeOf(json),
      ...(json.default === undefined ? {} : { default: JSON.stringify(json.default) }),
      description: json.description ?? '',
    };
  });
}

interface Leaf {
  readonly path: readonly string[];
  readonly schema: z.core.$ZodType;
}

function leavesOf(schema: z.core.$ZodType, path: readonly string[]): Leaf[] {
  const inner = schema instanceof z.ZodPrefault ? schema.unwrap() : schema;
  if (!(inner instanceof z.ZodObject)) return [{ path, schema }];
  return Object.entries(inner.shape as Record<string, z.core.$ZodType>).flatMap(([name, child]) =>
    leavesOf(child, [...path, name]),
  );
}

function nameOf({ path, schema }: Leaf): OptionName {
  const words = path.map((part) => part.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)).join('-');
  const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  return {
    key: path.join('.'),
    env: `HARNESSD_${words.replaceAll('-', '_').toUpperCase()}`,
    flag: `--${words}`,
    isPath: z.globalRegistry.get(inner)?.['isPath'] === true,
  };
}

function typeOf(json: z.core.JSONSchema.BaseSchema): string {
  if (json.enum) return json.enum.join(' | ');
  if (json['isPath'] === true) return 'path';
  if (json['isUrl'] === true) return 'URL';
  if (json.anyOf) return 'list (in the environment and flags: separated by commas)';
  if (json.type !== 'integer') return String(json.type);
  return json.maximum === Number.MAX_SAFE_INTEGER
    ? `integer ≥ ${json.minimum}`
    : `integer, ${json.minimum} to ${json.maximum}`;
}
