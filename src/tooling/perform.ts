import { abortable } from '../base/abortable.ts';
import type { Mask } from '../base/mask.ts';
import type { ToolContext } from '../kit/tool.ts';
import { DaemonError } from '../protocol/errors.ts';
import { Interruption } from './interruption.ts';
import type { OpenCall } from './open-call.ts';

export type Output = Readonly<Record<string, unknown>>;

/** What became of a call, masked. */
export type Outcome =
  | { readonly kind: 'ok'; readonly output: Output }
  | { readonly kind: 'error'; readonly error: DaemonError }
  | { readonly kind: 'interrupted'; readonly error: Interruption };

interface PerformOptions {
  readonly context: ToolContext;
  readonly mask: Mask;
  readonly limits: { readonly timeoutMs: number; readonly outputBytes: number };
}

/** Runs a call's tool within its limits. Does not throw: whatever happens is an outcome. */
export async function perform(call: OpenCall<unknown>, options: PerformOptions): Promise<Outcome> {
  const { context, mask, limits } = options;
  const { tool, signal } = call;
  const tooLong = setTimeout(() => call.interrupt('timeout'), limits.timeoutMs);
  try {
    signal.throwIfAborted();
    const given = await abortable(
      signal,
      Promise.try(() => tool.run(call.input, context)),
    );
    const output = mask.deep(tool.output.parse(given) as never) as Output; // JSON in, the same shape out
    const bytes = Buffer.byteLength(JSON.stringify(output));
    if (bytes > limits.outputBytes)
      throw new DaemonError('tool_failed', `the output has ${bytes} bytes, at most ${limits.outputBytes} are given`);
    return { kind: 'ok', output };
  } catch (error) {
    if (signal.reason instanceof Interruption) return { kind: 'interrupted', error: signal.reason };
    if (error instanceof DaemonError) return { kind: 'error', error: masked(error, mask) };
    const fault = new DaemonError('internal', 'a fault of the daemon; its log has the cause', { cause: error }); // logged by whoever answers
    return { kind: 'error', error: fault };
  } finally {
    clearTimeout(tooLong);
  }
}

function masked({ code, message, data, cause }: DaemonError, mask: Mask): DaemonError {
  return new DaemonError(code, mask.text(message), { data: mask.deep(data as never), cause });
}
