import type { Context } from './context.ts';
import { plainServeFlags } from './plain-serve.ts';

/** Runs the command that the arguments name and gives the process's exit code. */
export async function main(context: Context): Promise<number> {
  const flags = plainServeFlags(context.argv);
  if (!flags) return (await import('./program.ts')).main(context);
  try {
    return await (await import('./serve.ts')).serve(context, flags);
  } catch (error) {
    const { text, exitCode } = (await import('./fault.ts')).faultOf(error);
    context.stderr.write(text);
    return exitCode;
  }
}
