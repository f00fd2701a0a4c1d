import { exitCodes, print, type Context, type GlobalOptions } from './context.ts';
import { computerChecks } from './doctor-checks.ts';
import { paintFor } from './style.ts';

/** `harnessd doctor`: each check with what was found and what to do. */
export async function doctor(context: Context, options: GlobalOptions & { json?: boolean }): Promise<number> {
  const paint = paintFor(context);
  const marks = { ok: paint('green', 'ok  '), note: paint('yellow', 'note'), fail: paint('red', 'FAIL') };
  let failed = 0;
  for await (const check of computerChecks(context, options)) {
    if (check.state === 'fail') failed += 1;
    if (options.json) print(context, JSON.stringify(check));
    else
      print(
        context,
        `${marks[check.state]}  ${check.name.padEnd(16)} ${check.found}${check.todo ? `\n${' '.repeat(23)}→ ${check.todo}` : ''}`,
      );
  }
  if (!options.json) print(context, failed === 0 ? 'all is well' : `${failed} to mend`);
  return failed === 0 ? exitCodes.success : exitCodes.failure;
}
