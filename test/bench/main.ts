// npm run bench [-- --only name,name]: the figures of README.md, each with its limit; exit code 1 when one is missed.
import { cpus, loadavg, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { append } from './append.ts';
import type { Figure, Row } from './figure.ts';
import { fold } from './fold.ts';
import { idle } from './idle.ts';
import { launch } from './launch.ts';
import { ready } from './ready.ts';
import { replay } from './replay.ts';
import { renderTable } from './table.ts';
import { turn } from './turn.ts';

const figures: readonly Figure[] = [ready, idle, launch, turn, fold, append, replay];

const { values } = parseArgs({ options: { only: { type: 'string' } } });
const names = values.only?.split(',') ?? figures.map(({ name }) => name);
const unknown = names.filter((name) => !figures.some((figure) => figure.name === name));
if (unknown.length > 0) {
  console.error(`no figure ${unknown.join(', ')}; there are: ${figures.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

console.log(
  `Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${gibibytes(totalmem())} GiB`,
);
console.log(
  `load before: ${loadavg()
    .map((load) => load.toFixed(1))
    .join(' ')}\n`,
);

const table: string[][] = [['figure', 'measured', 'limit', '']];
const misses: Row[] = [];
for (const figure of figures.filter(({ name }) => names.includes(name))) {
  console.log(`${figure.name}: ${figure.title}\n  ${figure.method}`);
  for (const row of await figure.measure()) {
    table.push([`${figure.name}: ${row.title}`, row.value, row.limit?.text ?? '', verdictOf(row)]);
    if (row.limit?.isMet === false) misses.push(row);
  }
}
console.log(`\n${renderTable(table)}`);
console.log(
  `\nload after: ${loadavg()
    .map((load) => load.toFixed(1))
    .join(' ')}`,
);
process.exit(misses.length > 0 ? 1 : 0);

function verdictOf({ limit }: Row): string {
  if (!limit) return '';
  return limit.isMet ? 'ok' : 'MISSED';
}

function gibibytes(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(0);
}
