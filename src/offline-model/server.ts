/** The HTTP side of the offline model: finds the wire, reads the request, logs it, and plays the answer. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { anthropic } from './anthropic.ts';
import { chat } from './chat.ts';
import { userWords } from './clis.ts';
import { codeAssist } from './code-assist.ts';
import { BadRequest } from './conversation.ts';
import type { Conversation, Ids, Wire } from './conversation.ts';
import { gemini } from './gemini.ts';
import { play, sendError, sendJson } from './play.ts';
import type { Exchange } from './play.ts';
import { describeCredentials, digest, sessionIn } from './request-log.ts';
import type { Outcome, RequestLog } from './request-log.ts';
import { responses } from './responses.ts';
import { mark } from './script.ts';
import type { JsonObject } from './script.ts';
import { tell, waitingPrefix } from './story.ts';
import type { IsFirst, Told } from './story.ts';

const wires: readonly Wire[] = [anthropic, responses, chat, gemini, codeAssist];

const maxBodyBytes = 64 * 1024 * 1024;
const maxConnections = 1_000;
const maxNotes = 1_000;

const about = `${mark} This is harnessd's offline model: a scripted provider. It follows directives in prompts and asks no model.`;

export class OfflineModel implements AsyncDisposable {
  readonly #log: RequestLog;
  readonly #server: Server;
  readonly #stopped = new AbortController();
  readonly #isFirst: IsFirst = rememberKeys();
  readonly #startedAt = Date.now();
  #open = 0;

  constructor(log: RequestLog) {
    this.#log = log;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    // An idle connection that is closed in the same moment as it is used again looks like a dropped request to a client.
    this.#server.keepAliveTimeout = 0;
    this.#server.maxConnections = maxConnections;
  }

  /** Listens on loopback: on the port wanted, or on any when that one is taken. */
  async listen(port: number): Promise<number> {
    try {
      this.#server.listen(port, '127.0.0.1');
      await once(this.#server, 'listening');
    } catch (error) {
      if (port === 0) throw error;
      return this.listen(0);
    }
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the server has no port');
    return address.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, 'close') : undefined;
    this.#server.close();
    this.#stopped.abort();
    this.#server.closeAllConnections();
    await closed;
  }

  /** Never rejects: whatever goes wrong ends this one exchange. */
  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#open += 1;
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    request.on('error', () => gone.abort());
    response.on('error', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, this.#stopped.signal]);
    try {
      await this.#route(request, response, signal);
    } catch (error) {
      if (!signal.aborted)
        process.stderr.write(`offline model: ${error instanceof Error ? error.stack : String(error)}\n`);
      response.destroy();
    } finally {
      this.#open -= 1;
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> {
    const method = request.method ?? 'GET';
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    // Another name for this address means that a web page is asking by DNS rebinding.
    if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? '')) {
      return sendJson(response, 403, { error: `${mark} this name does not lead here` });
    }
    if (method === 'GET' && url.pathname === '/') return sendJson(response, 200, { about });
    if (method === 'GET' && url.pathname === '/_health') return sendJson(response, 200, this.#health());
    if (method === 'GET' && url.pathname === '/_log') {
      return sendJson(response, 200, this.#log.after(Number(url.searchParams.get('after') ?? 0)));
    }
    const wire = wires.find((each) => each.route(method, url.pathname, request.headers) !== undefined) ?? anthropic;
    const id = `req_offline_${randomUUID().replaceAll('-', '').slice(0, 20)}`;
    await this.#exchange({ request, response, wire, id, signal }, method, url.pathname);
  }

  #health(): JsonObject {
    const uptimeMs = Date.now() - this.#startedAt;
    return {
      ok: true,
      scripted: true,
      pid: process.pid,
      uptimeMs,
      openRequests: this.#open - 1,
      logLines: this.#log.count,
    };
  }

  async #exchange(exchange: Exchange, method: string, path: string): Promise<void> {
    const { request, wire, id } = exchange;
    const asked = wire.route(method, path, request.headers);
    const first = { id, method, path, wire: asked ? wire.name : null, ...describeCredentials(request.headers) };
    const session = sessionIn(request.headers) ?? null;
    const end = (outcome: Outcome, more: JsonObject = {}): void => this.#log.add({ id, end: outcome, ...more });
    const refuse = (status: number, message: string): void => {
      this.#log.add({ ...first, session });
      sendError(exchange, status, message);
      end('failed', { status });
    };

    if (asked === undefined) return refuse(404, `${mark} there is nothing at ${method} ${path}`);
    const body = await readBody(request);
    if (body === 'cut_off') {
      this.#log.add({ ...first, session });
      return end('client_closed');
    }
    if (body === 'too_large') return refuse(413, `Request exceeds the maximum size of ${maxBodyBytes} bytes`);
    if (asked === 'fixed') {
      this.#log.add({ ...first, session });
      sendJson(exchange.response, 200, wire.fixed(path) ?? { about }, wire.headers(id));
      return end('finished', { status: 200 });
    }

    let conversation: Conversation;
    try {
      const decoded = wire.decode(parseObject(body), { path, headers: request.headers, bytes: body.length });
      conversation = { ...(session !== null && { session }), ...decoded };
    } catch (error) {
      if (!(error instanceof BadRequest)) throw error;
      return refuse(400, error.message);
    }
    if (isUnknown(conversation.model)) return refuse(404, wire.noModel(conversation.model));

    const described = {
      ...first,
      session: conversation.session ?? null,
      ...describe(conversation),
      bytes: body.length,
      digest: digest(body, 16),
    };
    if (asked === 'count') {
      this.#log.add(described);
      sendJson(exchange.response, 200, wire.count(conversation), wire.headers(id));
      return end('finished', { status: 200 });
    }
    const told = tell(conversation, this.#isFirst);
    this.#log.add({ ...described, ...summarize(told) });
    const prefix = `${told.story === 'waiting' ? waitingPrefix : ''}offline_`;
    const seed = digest(body, 64);
    const ids: Ids = {
      request: id.replace('req_', ''),
      call: (index) => `${prefix}${digest(`${seed}:${index}`, 20)}`,
    };
    const outcome = await play(told.answer, conversation, ids, exchange);
    const how = this.#stopped.signal.aborted ? 'stopped' : exchange.signal.aborted ? 'client_closed' : undefined;
    end(outcome ?? how ?? 'finished', told.answer.type === 'status' ? { status: told.answer.status } : {});
  }
}

/** The whole body; what is over the limit is read on and thrown away, so that the client gets to see the refusal. */
async function readBody(request: IncomingMessage): Promise<Buffer | 'too_large' | 'cut_off'> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes <= maxBodyBytes) parts.push(part);
      else parts.length = 0;
    }
  } catch {
    // The client went away in the middle of its request.
    return 'cut_off';
  }
  return bytes > maxBodyBytes ? 'too_large' : Buffer.concat(parts);
}

function parseObject(body: Buffer): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch (error) {
    throw new BadRequest(
      `The request body is not valid JSON: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new BadRequest('The request body is not an object');
  return value as JsonObject;
}

function isUnknown(model: string): boolean {
  return model === 'unknown-model' || model.startsWith('no-such');
}

function describe({ model, stream, messages, items, tools }: Conversation): JsonObject {
  const last = items.findLast((item) => item.type === 'text' && item.role === 'user' && userWords(item.text) !== '');
  const lastUserText = last?.type === 'text' ? userWords(last.text).slice(0, 200) : '';
  return {
    model,
    stream,
    messages,
    toolCalls: items.filter(({ type }) => type === 'call').length,
    tools,
    lastUserText,
  };
}

function summarize({ story, errand, step, steps, answer }: Told): JsonObject {
  return {
    story,
    ...(errand !== undefined && { errand }),
    step,
    steps,
    answer: answer.type === 'reply' ? answer.ending : answer.type,
  };
}

/** A bounded memory of keys; the oldest are forgotten first. */
function rememberKeys(): IsFirst {
  const keys = new Set<string>();
  return (key) => {
    const short = digest(key, 32);
    if (keys.has(short)) return false;
    keys.add(short);
    const [oldest] = keys;
    if (keys.size > maxNotes && oldest !== undefined) keys.delete(oldest);
    return true;
  };
}
