import { print, type Context } from './context.ts';
import type { Check, Step } from './doctor-checks.ts';
import { paymentModes } from '../protocol/payment.ts';
import { createProgress } from './progress.ts';
import { paintFor, table, type Paint } from './style.ts';

const nameColumns = 18;
/** Of a turn that did not do what it was to, the last ones. */
const storyLines = 24;
const indent = ' '.repeat(6 + nameColumns + 1);
const failed = 'FAIL';
const none = '–';
const eraseLine = '\r\u001b[K';

export interface Report {
  /** Something begins that takes long. */
  begin(name: string): void;
  tell(check: Check): void;
  end(): void;
  readonly failures: number;
}

/** One JSON object a check. */
export function createJsonReport(context: Context): Report {
  let failures = 0;
  return {
    begin: () => undefined,
    tell: ({ events, ...check }) => {
      if (check.state === 'fail') failures += 1;
      print(context, JSON.stringify({ ...check, ...(events && { evidence: events.at(-1)?.data }) }));
    },
    end: () => undefined,
    get failures() {
      return failures;
    },
  };
}

/** For a person: a line a check as it is done, and what is being done on a terminal; the table of executors at the end. */
export function createReport(context: Context): Report {
  const paint = paintFor(context);
  const marks = { ok: paint('green', 'ok  '), note: paint('yellow', 'note'), fail: paint('red', failed) };
  const isLive = context.stdout.isTTY === true && context.env['TERM'] !== 'dumb';
  const checks: Check[] = [];
  let clear = '';
  const failures = (): number => checks.filter(({ state }) => state === 'fail').length;

  return {
    begin: (name) => {
      if (!isLive) return;
      context.stdout.write(`${clear}${paint('dim', `…     ${name}`)}`);
      clear = eraseLine;
    },
    tell: (check) => {
      checks.push(check);
      print(context, `${clear}${marks[check.state]}  ${linesOf(check, paint).join(`\n${indent}`)}`);
      clear = '';
    },
    end: () => {
      const rows = rowsOf(checks);
      if (rows.length > 0) {
        const text = table([header, ...rows], context.stdout.isTTY ? context.stdout.columns : 0);
        print(context, `\n${text.replaceAll(failed, marks.fail)}\n`);
      }
      print(context, failures() === 0 ? 'all is well' : `${failures()} to mend`);
    },
    get failures() {
      return failures();
    },
  };
}

function linesOf({ name, found, todo, seconds, events = [] }: Check, paint: Paint): string[] {
  const time = seconds === undefined ? '' : ` (${inSeconds(seconds)})`;
  const story = events
    .filter(({ type }) => type !== 'task.created' && type !== 'turn.queued') // what doctor itself asked for
    .map(createProgress(paint))
    .flatMap((text) => (text === '' ? [] : text.split('\n')))
    .slice(-storyLines);
  return [`${name.padEnd(nameColumns)} ${found}${time}`, ...story, ...(todo === undefined ? [] : [`→ ${todo}`])];
}

const driven = ['drives', 'resumes', 'cancels', 'tools'] as const satisfies Step[];
const header = ['EXECUTOR', 'VERSION', ...driven.map((step) => step.toUpperCase()), 'PAID BY', 'TIME', ''];

/** A row for each executor, once any was driven. */
function rowsOf(checks: readonly Check[]): string[][] {
  if (!checks.some(({ step }) => step === 'drives')) return [];
  const byExecutor = Map.groupBy(checks, ({ executor }) => executor);
  return [...byExecutor].flatMap(([id, its]) => (id === undefined ? [] : [rowOf(id, its)]));
}

function rowOf(id: string, checks: readonly Check[]): string[] {
  const version = checks.find(({ step }) => step === 'version');
  if (!version) return [id, ...header.slice(2).map(() => none), checks.map(inShort).join()];
  const cellOf = (step: Step): string => {
    const state = checks.find((check) => check.step === step)?.state;
    return state === undefined ? none : state === 'fail' ? failed : 'ok';
  };
  const paid = paymentModes.flatMap((mode) => {
    const cell = cellOf(mode === 'credits' ? 'drives' : mode); // the offline model is asked as the proxy for credits is
    if (cell === 'ok') return [mode];
    return cell === none || mode === 'credits' ? [] : [`${mode} ${cell}`];
  });
  return [
    id,
    version.state === 'fail' ? failed : (/\d+\.\d+\.\d+/.exec(version.found)?.[0] ?? none),
    ...driven.map(cellOf),
    paid.join(' ') || none,
    inSeconds(checks.reduce((sum, { seconds = 0 }) => sum + seconds, 0)),
  ];
}

const inShort = ({ found, todo }: Check): string => `${found}: ${todo}`;

function inSeconds(seconds: number): string {
  return `${seconds.toFixed(1)} s`;
}
