import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Executor } from '../kit/executor.ts';
import type { PaymentMode } from '../protocol/payment.ts';
import type { Scratch } from './doctor-scratch.ts';
import {
  beginTurn,
  dataOf,
  endOf,
  leftOf,
  mustSucceed,
  ownRequests,
  runTurn,
  TurnFault,
  until,
  type EndedTurn,
} from './doctor-turns.ts';

/** Beside the grace time, for a busy machine. */
const slackMs = 3_000;

/** What an executor is put through. Each step gives what was seen, or throws what was not. */
export class Steps {
  readonly #scratch: Scratch;
  readonly #executor: Executor;
  readonly #signal: AbortSignal;
  #first: EndedTurn | undefined;

  constructor(scratch: Scratch, executor: Executor, signal: AbortSignal) {
    this.#scratch = scratch;
    this.#executor = executor;
    this.#signal = signal;
  }

  async drives(): Promise<string> {
    const nonce = randomBytes(8).toString('hex');
    const workspace = await this.#scratch.newWorkspace();
    const prompt = `{{say: I write it.}} {{run: printf %s ${nonce} > proof.txt}} {{say: It is written.}}`;
    const turn = await this.#run({ prompt, workspace });
    mustSucceed(turn);
    const written = await readFile(join(workspace, 'proof.txt'), 'utf8').catch(() => undefined); // not there
    if (written !== nonce)
      throw new TurnFault('its turn succeeded, but the file that it was to write is not there', turn);
    const asked = ownRequests(turn);
    if (asked.length === 0) throw new TurnFault('its turn succeeded, but the model was not asked', turn);
    this.#first = turn;
    return `wrote a file in its workspace with its shell tool; asked ${wireOf(turn)} ${asked.length} times`;
  }

  async resumes(): Promise<string> {
    const first = this.#first!; // it drives
    const turn = await this.#run({ taskId: first.taskId, prompt: '{{say: And on.}}' });
    mustSucceed(turn);
    const [started] = dataOf(turn, 'turn.started');
    const session = dataOf(first, 'executor.session').at(-1)?.sessionId;
    if (started?.resumes === undefined || started.resumes !== session)
      throw new TurnFault('its follow-up did not go on with the session of the turn before', turn);
    // The follow-up itself calls no tool.
    if (!ownRequests(turn).some(({ toolCalls = 0 }) => toolCalls > 0))
      throw new TurnFault('what its follow-up asked the model did not hold the turn before', turn);
    return 'its follow-up showed the model the turn before';
  }

  async tools(): Promise<string> {
    const { client } = this.#scratch;
    const name = 'computer_info';
    const { computerId } = await client.call('daemon.info', {}, this.#signal);
    const turn = await this.#run({ prompt: `{{tool: mcp:harnessd/${name} {}}} {{say: I know it now.}}` });
    mustSucceed(turn);
    const call = dataOf(turn, 'tool.called').find((each) => each.via === 'mcp' && each.name === name);
    if (!call) throw new TurnFault(`it did not call harnessd’s tool ${name} over MCP`, turn);
    const answers = dataOf(turn, 'tool.finished').filter(
      ({ outcome, output }) => outcome === 'ok' && output.includes(computerId),
    );
    if (!answers.some(({ callId }) => callId === call.callId)) throw new TurnFault(`${name} did not answer`, turn);
    if (!answers.some(({ via }) => via === undefined))
      throw new TurnFault(`the answer of ${name} did not reach it`, turn);
    return `called ${name} over MCP and got its answer`;
  }

  async cancels(): Promise<string> {
    const { client, graceMs } = this.#scratch;
    const workspace = await this.#scratch.newWorkspace();
    const prompt = '{{run: echo begun; sleep 600 & touch started; sleep 601}}';
    const { taskId, turnId, ended } = await beginTurn(
      this.#scratch,
      { executor: this.#executor.id, prompt, workspace },
      this.#signal,
    );
    const early = await until(() => existsSync(join(workspace, 'started')), ended);
    if (early) throw new TurnFault(`its turn ended by itself: ${endOf(early).outcome}/${endOf(early).reason}`, early);
    const asked = Date.now();
    await client.call('task.cancel', { taskId }, this.#signal);
    const turn = await ended;
    const tookMs = Date.now() - asked;
    const left = await leftOf(turnId);
    const { outcome, reason } = endOf(turn);
    if (outcome !== 'cancelled') throw new TurnFault(`its cancelled turn ended ${outcome}/${reason}`, turn);
    if (left.length > 0) throw new TurnFault(`of its cancelled turn is left: ${left.join('; ')}`, turn);
    if (tookMs > graceMs + slackMs)
      throw new TurnFault(`its cancelled turn ended after ${tookMs} ms; the grace time is ${graceMs} ms`, turn);
    return `in the middle of a tool it ended within ${tookMs} ms, and nothing was left`;
  }

  /** With a made-up credential, which the offline model takes for one. */
  async isPaidBy(mode: PaymentMode): Promise<string> {
    const { client } = this.#scratch;
    const { id: executor } = this.#executor;
    const value = `made-up-by-doctor-${randomBytes(12).toString('hex')}`;
    const whose = mode === 'oauth' ? { member: 'doctor' } : {};
    await client.call('credential.set', { executor, mode, value, ...whose }, this.#signal);
    await client.call('policy.set', { executors: { [executor]: { authMethod: mode } } }, this.#signal);
    const turn = await this.#run({ prompt: '{{say: Paid.}}', env: noVendor, ...whose });
    mustSucceed(turn);
    const [started] = dataOf(turn, 'turn.started');
    if (started?.mode !== mode) throw new TurnFault(`its turn was paid by ${started?.mode}`, turn);
    const hash = createHash('sha256').update(value).digest('hex').slice(0, 12);
    const asked = ownRequests(turn);
    if (asked.length === 0 || !asked.every(({ credentials = {} }) => Object.values(credentials).includes(hash)))
      throw new TurnFault('the model was asked without the credential that it was given', turn);
    const what = mode === 'oauth' ? 'a member’s access token' : 'the organisation’s key';
    return `${what} reached ${wireOf(turn)}`;
  }

  #run(params: {
    prompt: string;
    workspace?: string;
    taskId?: EndedTurn['taskId'];
    member?: string;
    env?: Record<string, string>;
  }): Promise<EndedTurn> {
    return runTurn(this.#scratch, { executor: this.#executor.id, ...params }, this.#signal);
  }
}

const nowhere = 'http://127.0.0.1:9';
const here = '127.0.0.1,localhost';
/** A made-up credential is shown to no vendor: what a CLI would ask it beside the model goes to a closed door. */
const noVendor = { HTTPS_PROXY: nowhere, https_proxy: nowhere, NO_PROXY: here, no_proxy: here };

/** Where the model was asked, and by what kind of credential. */
function wireOf(turn: EndedTurn): string {
  const [request] = ownRequests(turn);
  const auth = request?.auth === 'both' ? 'bearer and x-goog-api-key' : request?.auth;
  return `${request?.path?.replace(/\?.*$/, '')} (${auth})`;
}
