import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { SerializedError } from 'vitest';
import { DefaultReporter, type TestCase, type TestModule, type TestRunEndReason, type Vitest } from 'vitest/node';

const slowestShown = 20;
const notHerePage = path.resolve(import.meta.dirname, '../../docs/not-here.md');

/** Adds to vitest's report the slowest tests, the skipped ones with their reasons, and a last line that CI reads. */
export class SummaryReporter extends DefaultReporter {
  #isFiltered = false;

  override onInit(vitest: Vitest): void {
    super.onInit(vitest);
    this.#isFiltered = vitest.config.testNamePattern !== undefined;
  }

  override onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly SerializedError[],
    reason: TestRunEndReason,
  ): void {
    super.onTestRunEnd(modules, unhandledErrors, reason);
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const chosen = this.#isFiltered || tests.some((test) => test.options.mode === 'only');
    const skips = tests.flatMap((test) => skipOf(test)).filter((skip) => !chosen || skip.reason !== undefined);
    const isCi = Boolean(process.env['CI']);
    const refusals = refusedSkips(skips, isCi ? readNotHere(notHerePage) : undefined);
    const brokenSuites = modules.flatMap((module) =>
      [module, ...module.children.allSuites()].filter((suite) => suite.errors().length > 0),
    );

    const lines = [
      ...slowest(tests),
      ...skips.map(({ name, reason: why }) => `skipped: ${name}: ${why ?? 'no reason'}`),
    ];
    for (const refusal of refusals) lines.push(`not allowed: ${refusal}`);
    const count = {
      passed: tests.filter((test) => test.result().state === 'passed').length,
      failed:
        tests.filter((test) => test.result().state === 'failed').length +
        brokenSuites.length +
        unhandledErrors.length +
        refusals.length,
      skipped: skips.length - refusals.length,
    };
    if (refusals.length > 0) process.exitCode = 1;
    console.log(`${lines.join('\n')}\n\n${summaryLine(count)}`);
  }
}

export interface Skip {
  /** `test/file.test.ts > suite > test` */
  readonly name: string;
  readonly reason: string | undefined;
}

/** A skip needs a reason always; where a list of the tests that cannot run here is given, it must be on it, too. */
export function refusedSkips(skips: readonly Skip[], notHere: readonly string[] | undefined): string[] {
  return skips.flatMap(({ name, reason }) => {
    if (!reason) return [`${name} is skipped without a reason: call skip('why') of the test's context`];
    const [file = '', ...title] = name.split(' > ');
    const isListed = notHere?.some((entry) => [name, file, title.join(' > ')].includes(entry)) ?? true;
    return isListed ? [] : [`${name} is skipped (${reason}) and not listed in docs/not-here.md`];
  });
}

/** The first column of the page's table: names of tests or files, in backticks. */
export function readNotHere(page: string): string[] {
  return [...readFileSync(page, 'utf8').matchAll(/^\|\s*`([^`]+)`\s*\|/gm)].flatMap(([, name]) => name ?? []);
}

export function summaryLine({ passed, failed, skipped }: { passed: number; failed: number; skipped: number }): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

function skipOf(test: TestCase): Skip[] {
  const result = test.result();
  return result.state === 'skipped' ? [{ name: nameOf(test), reason: result.note }] : [];
}

function slowest(tests: readonly TestCase[]): string[] {
  const timed = tests.map((test) => ({ name: nameOf(test), ms: test.diagnostic()?.duration ?? 0 }));
  const worst = timed
    .filter(({ ms }) => ms >= 10)
    .sort((a, b) => b.ms - a.ms)
    .slice(0, slowestShown);
  if (worst.length === 0) return [];
  return ['The slowest tests', ...worst.map(({ name, ms }) => `${ms.toFixed(0).padStart(7)} ms  ${name}`)];
}

const nameOf = (test: TestCase): string => `${test.module.relativeModuleId} > ${test.fullName}`;
