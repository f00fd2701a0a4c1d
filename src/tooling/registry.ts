import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { bodyMac } from '../base/body-mac.ts';
import type { Secret } from '../base/secret.ts';
import type { Tool } from '../kit/tool.ts';
import { DaemonError } from '../protocol/errors.ts';
import type { InterruptReason } from '../protocol/events.ts';
import type { TurnId } from '../protocol/ids.ts';
import { invalidParams } from '../protocol/invalid-params.ts';
import type { ToolEffect } from '../protocol/tool-effect.ts';
import type { Answer } from './answer.ts';
import { OpenCall, type CallRequest } from './open-call.ts';
import type { runCall, RunOptions } from './run-call.ts';

export interface ToolRegistryOptions extends RunOptions {
  readonly tools: readonly Tool[];
  /** Key of the HMACs by which a retried call is known. */
  readonly macKey: Secret;
}

/** A tool as peers and executors see it. */
export interface ToolListing {
  readonly name: string;
  readonly summary: string;
  readonly effect: ToolEffect;
  readonly inputSchema: Readonly<Record<string, unknown>>;
  readonly outputSchema: Readonly<Record<string, unknown>>;
}

type Call = OpenCall<Answer>;

/** Runs tools for whoever calls, peers and executors alike: one check, one journal, one set of limits. */
export class ToolRegistry {
  readonly #options: ToolRegistryOptions;
  readonly #tools: ReadonlyMap<string, Tool>;
  readonly #open = new Map<string, Call>();
  /** Those that are being ended. */
  readonly #closedTurns = new Set<TurnId>();
  #listing: readonly ToolListing[] | undefined;
  #isClosed = false;
  #runCall: typeof runCall | undefined;

  constructor(options: ToolRegistryOptions) {
    this.#options = options;
    this.#tools = new Map(options.tools.map((tool) => [tool.name, tool]));
  }

  /** Closes the calls that a killed daemon left open. */
  async recover(): Promise<void> {
    const { store, clock, limits } = this.#options;
    if (store.hasOpenCalls) await store.write('interruptCalls', { at: clock.now() });
    const before = clock.now() - limits.answersMs;
    if (store.hasAnswersBefore(before)) await store.write('dropOldAnswers', { before });
  }

  list(): readonly ToolListing[] {
    this.#listing ??= this.#options.tools.map(({ name, summary, effect, input, output }) => ({
      name,
      summary,
      effect,
      inputSchema: jsonSchema(input, 'input'),
      outputSchema: jsonSchema(output, 'output'),
    }));
    return this.#listing;
  }

  async call(request: CallRequest): Promise<Answer> {
    const { name, input, caller, id, signal } = request;
    const tool = this.#tools.get(name);
    if (!tool) {
      const tools = [...this.#tools.keys()];
      throw new DaemonError('tool_not_found', `no tool ${JSON.stringify(name)}; there are: ${tools.join(', ')}`, {
        data: { tools },
      });
    }
    const parsed = tool.input.safeParse(input);
    if (!parsed.success) throw invalidParams(name, parsed.error, 'input');
    const mac = bodyMac(this.#options.macKey, { name, input, taskId: caller.taskId });
    const running = id === undefined ? undefined : this.#open.get(id);
    if (running && running.bodyMac !== mac) throw new DaemonError('conflict', `call ${id} has another body`);
    const call = running ?? this.#begin({ tool, input: parsed.data, request, bodyMac: mac });
    const cancel = (): void => call.interrupt('cancelled');
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    try {
      return await call.done;
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  /** Whether the turn waits for one of our tools. */
  hasOpenCall(turnId: TurnId): boolean {
    return this.#callsOf(turnId).length > 0;
  }

  /** Ends the turn's calls and takes no more of them. Resolves when what became of each is recorded. */
  async endTurn(turnId: TurnId, reason: InterruptReason): Promise<void> {
    this.#closedTurns.add(turnId);
    await interruptAll(this.#callsOf(turnId), reason);
  }

  /** The turn's end is recorded: nobody can call in its name any more. */
  forgetTurn(turnId: TurnId): void {
    this.#closedTurns.delete(turnId);
  }

  /** Ends all calls and takes no more. Resolves when that is recorded. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await interruptAll([...this.#open.values()], 'daemon_stopping');
  }

  /** What runs calls: loaded no later than just after the start, lest it be of another version. */
  async load(): Promise<void> {
    this.#runCall ??= (await import('./run-call.ts')).runCall;
  }

  async #run(call: Call): Promise<Answer> {
    await this.load();
    return this.#runCall!(call, this.#options);
  }

  #callsOf(turnId: TurnId): Call[] {
    return [...this.#open.values()].filter((call) => call.turnId === turnId);
  }

  #begin({ tool, input, request, bodyMac }: Pick<Call, 'tool' | 'input' | 'request' | 'bodyMac'>): Call {
    const { store, limits } = this.#options;
    const { caller, id = randomUUID() } = request;
    if (this.#isClosed) throw new DaemonError('shutting_down', 'the daemon is stopping: come back');
    if (caller.kind === 'turn') {
      if (this.#closedTurns.has(caller.turnId)) throw new DaemonError('request_cancelled', 'the turn is being ended');
      if (this.#callsOf(caller.turnId).length >= limits.callsPerTurn)
        throw new DaemonError('too_many_requests', `at most ${limits.callsPerTurn} calls at once (tools.callsPerTurn)`);
    }
    const task = caller.taskId === undefined ? undefined : store.task(caller.taskId);
    if (caller.taskId !== undefined && !task) throw new DaemonError('task_not_found', `no task ${caller.taskId}`);
    const facts = { id, tool, input, request, bodyMac, workspace: task?.workspace };
    const call = new OpenCall<Answer>(facts, (opened) =>
      Promise.resolve()
        .then(() => this.#run(opened))
        .finally(() => this.#open.delete(id)),
    );
    this.#open.set(id, call);
    return call;
  }
}

async function interruptAll(calls: readonly Call[], reason: InterruptReason): Promise<void> {
  for (const call of calls) call.interrupt(reason);
  await Promise.allSettled(calls.map(({ done }) => done));
}

/** Without naming its dialect: some clients refuse one that they do not know, and what we use is the same in all. */
function jsonSchema(schema: z.ZodObject, io: 'input' | 'output'): Readonly<Record<string, unknown>> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
}
