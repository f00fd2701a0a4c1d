import type { Tool, ToolCaller } from '../kit/tool.ts';
import type { InterruptReason } from '../protocol/events.ts';
import { Interruption } from './interruption.ts';

export interface CallRequest {
  readonly name: string;
  readonly input: unknown;
  readonly caller: ToolCaller;
  readonly via: 'mcp' | 'rpc';
  /** Chosen by the client, so that a retry acts once. */
  readonly id?: string;
  /** The executor's own id of the call. */
  readonly parentCallId?: string;
  /** Aborted when the client cancels; of several that wait for the same call any one can. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

/** A call from when it was asked for until what became of it is recorded. */
export class OpenCall<Answer> {
  readonly id: string;
  readonly tool: Tool;
  /** As the tool's schema made it. */
  readonly input: Readonly<Record<string, unknown>>;
  readonly request: CallRequest;
  readonly bodyMac: string;
  readonly workspace: string | undefined;
  readonly done: Promise<Answer>;
  readonly #ending = new AbortController();

  constructor(
    facts: Pick<OpenCall<Answer>, 'id' | 'tool' | 'input' | 'request' | 'bodyMac' | 'workspace'>,
    run: (call: OpenCall<Answer>) => Promise<Answer>,
  ) {
    this.id = facts.id;
    this.tool = facts.tool;
    this.input = facts.input;
    this.request = facts.request;
    this.bodyMac = facts.bodyMac;
    this.workspace = facts.workspace;
    this.done = run(this);
    this.done.catch(() => undefined); // told to whoever waits; those may have gone
  }

  /** Aborted with an `Interruption`. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get turnId() {
    const { caller } = this.request;
    return caller.kind === 'turn' ? caller.turnId : null;
  }

  get taskId() {
    return this.request.caller.taskId ?? null;
  }

  /** The first reason counts. */
  interrupt(reason: InterruptReason): void {
    this.#ending.abort(new Interruption(reason));
  }
}
