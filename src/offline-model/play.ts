/** Plays an answer on a connection: its words, its silences, and the ways in which a provider breaks off. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Conversation, Ids, Reply, Wire } from './conversation.ts';
import type { Outcome } from './request-log.ts';
import { mark } from './script.ts';
import type { JsonObject } from './script.ts';

const cutAfterMs = 100;

/** One request under way. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly wire: Wire;
  readonly id: string;
  /** Aborted when the client has gone, or this process is to leave. */
  readonly signal: AbortSignal;
}

/** Plays an answer to its end. Returns nothing when the signal ended it, or when all of it was told in good order. */
export async function play(
  answer: Answer,
  conversation: Conversation,
  ids: Ids,
  exchange: Exchange,
): Promise<Outcome | undefined> {
  const { response, signal, wire } = exchange;
  if (answer.type !== 'reply' && !(await waited(answer.afterMs, signal))) return undefined;
  switch (answer.type) {
    case 'status': {
      const { status, retryAfter } = answer;
      sendError(exchange, status, `${mark} the script asks for status ${status}`, retryAfter);
      return (await finished(response, signal)) === 'finished' ? 'failed' : undefined;
    }
    case 'drop':
      response.socket?.destroy();
      return 'dropped';
    case 'hang':
      return untilGone(signal);
    case 'reply':
      return conversation.stream
        ? playStream(answer, wire.stream(answer, conversation, ids), exchange)
        : playWhole(answer, wire.whole(answer, conversation, ids), exchange);
  }
}

async function playStream(
  reply: Reply,
  parts: Iterable<string | number>,
  { response, signal, wire, id }: Exchange,
): Promise<Outcome | undefined> {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
    ...wire.headers(id),
  });
  // Sent at once, so that a wait at the beginning is a silence inside the stream.
  response.flushHeaders();
  for (const part of parts) {
    if (typeof part === 'number' ? !(await waited(part, signal)) : !(await written(response, part, signal)))
      return undefined;
  }
  switch (reply.ending) {
    case 'finish':
      return finished(response, signal);
    case 'early-end':
      return (await finished(response, signal)) === 'finished' ? 'early_end' : undefined;
    case 'stall':
      return untilGone(signal);
    case 'cut':
      return cut(response, signal);
  }
}

async function playWhole(
  reply: Reply,
  body: JsonObject,
  { response, signal, wire, id }: Exchange,
): Promise<Outcome | undefined> {
  const waitMs = reply.pieces.reduce((sum, piece) => sum + (piece.type === 'wait' ? piece.ms : 0), 0);
  if (!(await waited(waitMs, signal))) return undefined;
  if (reply.ending === 'finish') {
    sendJson(response, 200, body, wire.headers(id));
    return finished(response, signal);
  }
  const text = JSON.stringify(body);
  const half = text.slice(0, text.length / 2);
  const length = reply.ending === 'early-end' ? {} : { 'content-length': Buffer.byteLength(text) };
  response.writeHead(200, { 'content-type': 'application/json', ...length, ...wire.headers(id) });
  if (!(await written(response, half, signal))) return undefined;
  if (reply.ending === 'stall') return untilGone(signal);
  if (reply.ending === 'cut') return cut(response, signal);
  return (await finished(response, signal)) === 'finished' ? 'early_end' : undefined;
}

/** Writes, and waits until the client has taken enough. False when it has gone. */
async function written(response: ServerResponse, text: string, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  if (response.write(text)) return true;
  return once(response, 'drain', { signal }).then(
    () => true,
    () => false,
  );
}

async function waited(ms: number, signal: AbortSignal): Promise<boolean> {
  if (ms === 0) return !signal.aborted;
  return delay(ms, true, { signal }).catch(() => false);
}

async function untilGone(signal: AbortSignal): Promise<undefined> {
  if (!signal.aborted) await once(signal, 'abort');
}

/** Ends the response; finished is what was handed to the system whole. */
async function finished(response: ServerResponse, signal: AbortSignal): Promise<Outcome | undefined> {
  if (response.writableFinished) return 'finished';
  response.end();
  return once(response, 'finish', { signal }).then(
    () => 'finished' as const,
    () => undefined,
  );
}

/**
 * Breaks the connection a moment after what was written has left: clients throw away words that arrive together with the
 * break, and what they do then would be left to chance.
 */
async function cut(response: ServerResponse, signal: AbortSignal): Promise<Outcome | undefined> {
  const { socket } = response;
  if (!socket || signal.aborted) return undefined;
  await new Promise((resolve) => socket.write('', resolve));
  if (!(await waited(cutAfterMs, signal))) return undefined;
  socket.destroy();
  return 'cut';
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

export function sendError(
  { response, wire, id }: Exchange,
  status: number,
  message: string,
  retryAfter?: string,
): void {
  const headers = { ...wire.headers(id), ...(retryAfter !== undefined && { 'retry-after': retryAfter }) };
  sendJson(response, status, wire.error(status, message, id, retryAfter), headers);
}
