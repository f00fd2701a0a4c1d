import path from 'node:path';

/** Source text by its path from the project's root. */
export type Sources = ReadonlyMap<string, string>;

/** Which folders (or top files of `src`) each one may import, besides itself. */
export type ImportTable = Readonly<Record<string, readonly string[] | 'everything'>>;

/** All that breaks the rules of the architecture, one line each. */
export function findViolations(sources: Sources, table: ImportTable): string[] {
  const imports = [...sources].flatMap(([from, text]) => importsOf(from, text).map((to) => ({ from, to })));
  const folders = new Set([...sources.keys()].map(moduleOf));
  return [
    ...[...folders].filter((folder) => !Object.hasOwn(table, folder)).map((folder) => `${folder} has no row`),
    ...imports.flatMap(({ from, to }) => forbidden(from, to, table)),
    ...cyclesIn('files', imports),
    ...cyclesIn(
      'folders',
      imports.map(({ from, to }) => ({ from: moduleOf(from), to: moduleOf(to) })).filter(({ from, to }) => from !== to),
    ),
    ...[...sources].flatMap(([file, text]) => badHabits(file, text)),
  ];
}

/** The row that a file belongs to: `src/task/turn.ts` to `src/task`, `src/main.ts` to itself, `tools/git.ts` to `tools`. */
export function moduleOf(file: string): string {
  const [top = '', second = ''] = file.split('/');
  return top === 'src' ? `${top}/${second}` : top;
}

/** Relative imports, among them those of types, dynamic ones and re-exports, as paths from the root. */
function importsOf(file: string, text: string): string[] {
  const specifiers = [...text.matchAll(/\b(?:from|import)\s*\(?\s*(['"`])(\.[^'"`]*)\1/g)];
  return specifiers.map(([, , specifier = '']) => path.posix.join(path.posix.dirname(file), specifier));
}

function forbidden(from: string, to: string, table: ImportTable): string[] {
  const [source, target] = [moduleOf(from), moduleOf(to)];
  if (target === 'test') return [`${from} imports ${to}: product code imports nothing of test/`];
  const isProduct = ['src', 'executors', 'tools'].some((top) => to.startsWith(`${top}/`));
  const allowed = table[source];
  if (!isProduct || source === target || allowed === undefined) return [];
  return allowed === 'everything' || allowed.includes(target) ? [] : [`${from} imports ${to}: not in ${source}'s row`];
}

function badHabits(file: string, text: string): string[] {
  const name = path.posix.basename(file);
  const found: string[] = [];
  if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.d)?\.ts$/.test(name)) found.push(`${file} is not named in kebab-case`);
  const code = text.replaceAll(/^\s*(\/\/|\/?\*).*$/gm, '');
  const touchesProcess =
    /\bprocess\.(env|exit)\b|\bfrom ['"](node:)?process['"]|\{[^}]*\b(env|exit)\b[^}]*\} = process;/.exec(code);
  const isEntry = name === 'main.ts' || /(worker|plugin)\.ts$/.test(name); // a plugin runs in another program
  if (touchesProcess && !isEntry) found.push(`${file} has ${touchesProcess[0]}: only entry files may`);
  if (code.includes('../shared')) found.push(`${file} reads outside the project: ../shared`);
  return found;
}

interface Edge {
  readonly from: string;
  readonly to: string;
}

/** One line for each edge that leads back to where the walk came from. */
function cyclesIn(kind: string, edges: readonly Edge[]): string[] {
  const next = Map.groupBy(edges, ({ from }) => from);
  const finished = new Set<string>();
  const cycles = new Set<string>();
  const walk = (node: string, trail: readonly string[]): void => {
    const start = trail.indexOf(node);
    if (start >= 0) cycles.add(`cycle of ${kind}: ${[...trail.slice(start), node].join(' → ')}`);
    if (start >= 0 || finished.has(node)) return;
    for (const { to } of next.get(node) ?? []) walk(to, [...trail, node]);
    finished.add(node);
  };
  for (const node of next.keys()) walk(node, []);
  return [...cycles];
}
