import { stripVTControlCharacters, styleText } from 'node:util';
import type { Context } from './context.ts';

type Colour = 'dim' | 'bold' | 'red' | 'green' | 'yellow' | 'cyan';

/** Marks text for a terminal, or leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

export const plain: Paint = (_colour, text) => text;

/** Colours only on a terminal, and never with NO_COLOR. */
export function paintFor({ env, stdout }: Context): Paint {
  const isWanted = stdout.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  return isWanted ? (colour, text) => styleText(colour, text, { validateStream: false }) : plain;
}

/** Control characters but for tab and line feed: C0, DEL and C1. */
const controls = /(?![\t\n])\p{Cc}/gu;

/** Text of a program's or a model's making, fit for a person's terminal: it cannot move the cursor or set a title. */
export function harmless(text: string): string {
  return stripVTControlCharacters(text).replaceAll('\r\n', '\n').replaceAll(controls, '·');
}

/** The beginning of a text, on one line. */
export function clip(text: string, maxChars: number): string {
  const line = harmless(text).replaceAll(/\s+/g, ' ').trim();
  return line.length <= maxChars ? line : `${line.slice(0, maxChars - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** Columns as wide as their widest cell; the last one is cut at the terminal's edge. */
export function table(rows: readonly (readonly string[])[], columns = 0): string {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(...rows.map((row) => (row[index] ?? '').length)));
  return rows
    .map((row) =>
      row.map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0))).join('  '),
    )
    .map((line) => line.trimEnd())
    .map((line) => (columns > 0 && line.length > columns ? `${line.slice(0, columns - 1)}…` : line))
    .join('\n');
}

export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
