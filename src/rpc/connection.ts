import {
  createJSONRPCErrorResponse,
  createJSONRPCNotification,
  createJSONRPCSuccessResponse,
  type JSONRPCID,
} from 'json-rpc-2.0/dist/models.js';
import type { Logger } from 'pino';
import { z } from 'zod';
import { DaemonError } from '../protocol/errors.ts';
import { invalidParams } from '../protocol/invalid-params.ts';
import { methods, type MethodName } from '../protocol/methods.ts';
import type { Store } from '../store/store.ts';
import type { Channel } from '../transport/channel.ts';
import type { Handlers } from './handlers.ts';
import { Subscriptions } from './subscriptions.ts';
import { wireError } from './wire-error.ts';

const Id = z.union([z.string(), z.number(), z.null()]);
const Request = z.object({
  jsonrpc: z.literal('2.0'),
  id: Id.optional(),
  method: z.string(),
  params: z.unknown().optional(),
});
type Request = z.infer<typeof Request>;
const CancelParams = z.object({ id: Id });

interface ConnectionOptions {
  readonly channel: Channel;
  readonly handlers: Handlers;
  readonly store: Store;
  readonly limits: { readonly requestsPerPeer: number; readonly subscriptionsPerPeer: number };
  readonly log: Logger;
}

interface Reply {
  readonly result: unknown;
  readonly afterReply: readonly (() => void)[];
}

/** One peer: its requests in flight, each with an AbortController, and its subscriptions. */
export class Connection {
  readonly #options: ConnectionOptions;
  readonly #inFlight = new Map<JSONRPCID, AbortController>();
  readonly #subscriptions: Subscriptions;
  /** Those whose answers the peer has not taken yet count too. */
  #requests = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    const { channel, store, limits, log } = options;
    this.#subscriptions = new Subscriptions({
      store,
      max: limits.subscriptionsPerPeer,
      signal: channel.gone,
      notify: (method, params) => channel.send(JSON.stringify(createJSONRPCNotification(method, params))),
      onFault: (error) => log.error({ err: error }, 'subscription failed'),
    });
    channel.onText((text) => void this.#receive(text)); // #receive answers every error to the peer
  }

  async #receive(text: string): Promise<void> {
    let id: JSONRPCID = null;
    let isNotification = false;
    this.#requests += 1;
    try {
      const request = decode(text);
      id = request.id ?? null;
      isNotification = request.id === undefined;
      const { result, afterReply } =
        request.method === '$/cancel' ? this.#cancel(request.params) : await this.#run(request);
      if (!isNotification) await this.#send(createJSONRPCSuccessResponse(id, result));
      for (const run of afterReply) run();
    } catch (error) {
      const { number, message, data } = wireError(error);
      if (data['code'] === 'internal') this.#options.log.error({ err: error }, 'request failed');
      if (!isNotification) await this.#send(createJSONRPCErrorResponse(id, number, message, data));
    } finally {
      this.#requests -= 1;
    }
  }

  async #run(request: Request): Promise<Reply> {
    if (!isMethod(request.method)) {
      throw new DaemonError('method_not_found', `no method ${JSON.stringify(request.method)}`, {
        data: { methods: Object.keys(methods) },
      });
    }
    const id = request.id ?? null;
    if (id !== null && this.#inFlight.has(id))
      throw new DaemonError('invalid_request', `request ${JSON.stringify(id)} is still in flight`);
    const { requestsPerPeer } = this.#options.limits;
    if (this.#requests > requestsPerPeer) {
      throw new DaemonError(
        'too_many_requests',
        `at most ${requestsPerPeer} requests in flight on a connection (limits.requestsPerPeer)`,
      );
    }
    const { params: schema, result: resultSchema } = methods[request.method];
    const params = schema.safeParse(request.params ?? {});
    if (!params.success) throw invalidParams(request.method, params.error);

    const cancelled = new AbortController();
    if (id !== null) this.#inFlight.set(id, cancelled);
    try {
      const signal = AbortSignal.any([cancelled.signal, this.#options.channel.gone]);
      const afterReply: (() => void)[] = [];
      const handler = this.#options.handlers[request.method] as (params: unknown, context: object) => unknown; // the schema of this very method has just accepted the params
      const result = await withAbort(
        signal,
        handler(params.data, {
          signal,
          cancelled: cancelled.signal,
          subscriptions: this.#subscriptions,
          sendFrame: (frame: Uint8Array) => this.#options.channel.send(frame),
          afterReply: (run: () => void) => afterReply.push(run),
        }),
      );
      return { result: resultSchema.parse(result), afterReply };
    } finally {
      if (id !== null) this.#inFlight.delete(id);
    }
  }

  /** What is not in flight any more has been answered. */
  #cancel(params: unknown): Reply {
    const parsed = CancelParams.safeParse(params);
    if (!parsed.success) throw invalidParams('$/cancel', parsed.error);
    this.#inFlight.get(parsed.data.id)?.abort();
    return { result: {}, afterReply: [] };
  }

  async #send(response: object): Promise<void> {
    await this.#options.channel.send(JSON.stringify(response)); // a peer that is gone needs no answer
  }
}

function decode(text: string): Request {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new DaemonError('parse_error', 'the frame is not JSON', { cause: error });
  }
  const request = Request.safeParse(json);
  if (!request.success) throw new DaemonError('invalid_request', 'not a JSON-RPC 2.0 request (batches are not taken)');
  return request.data;
}

function isMethod(name: string): name is MethodName {
  return Object.hasOwn(methods, name);
}

/** A cancelled request is answered at once; what it has begun ends by its own signal. */
async function withAbort(signal: AbortSignal, work: unknown): Promise<unknown> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(new DaemonError('request_cancelled', 'the request was cancelled'));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
