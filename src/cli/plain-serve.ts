import { parseArgs } from 'node:util';
import { listOptions } from '../config/options.ts';

/** Flags as commander names them: `--listen-port` is `listenPort`. */
export type ServeFlags = Readonly<Record<string, string | undefined>>;

/**
 * The flags of a `serve` that names nothing but flags of its own with their values: it need not wait until all the other
 * commands are set up. Undefined for everything else, which is theirs to run or to find fault with.
 */
export function plainServeFlags(argv: readonly string[]): ServeFlags | undefined {
  if (!argv.includes('serve')) return undefined;
  const names = ['config', ...listOptions().map(({ flag }) => flag.slice(2))];
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true });
    if (positionals.join() !== 'serve') return undefined;
    return Object.fromEntries(Object.entries(values).map(([name, value]) => [attributeOf(name), String(value)]));
  } catch {
    return undefined; // it is told in their words
  }
}

/** As commander names it: `listen-port` is `listenPort`. */
export function attributeOf(name: string): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
