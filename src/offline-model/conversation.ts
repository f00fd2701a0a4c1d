/** What passes between the wires and the story: a request and its answer, in no provider's shape. */
import type { Failure, JsonObject } from './script.ts';

export type Item =
  | { readonly type: 'text'; readonly role: 'user' | 'assistant'; readonly text: string }
  | { readonly type: 'call'; readonly name: string }
  | { readonly type: 'result'; readonly text: string; readonly isError: boolean };

export interface Conversation {
  readonly model: string;
  readonly stream: boolean;
  /** The CLI's own conversation id, when the wire carries it. */
  readonly session?: string;
  /** How many messages the request has. */
  readonly messages: number;
  /** Everything said so far, in order; a message with several parts is several items. */
  readonly items: readonly Item[];
  /** Names of the tools that are offered. */
  readonly tools: readonly string[];
  /** Estimated from the size of the request. */
  readonly inputTokens: number;
}

export type Piece =
  | { readonly type: 'thinking'; readonly text: string }
  /** `open` text breaks off before its end. */
  | { readonly type: 'text'; readonly text: string; readonly open?: true }
  | { readonly type: 'flood'; readonly bytes: number }
  | { readonly type: 'call'; readonly name: string; readonly input: JsonObject }
  | { readonly type: 'wait'; readonly ms: number };

export interface Usage {
  readonly input: number;
  readonly output: number;
  readonly cached: number;
}

/** How a reply that was begun ends: in good order, or in one of the ways in which real providers break off. */
export type Ending = 'finish' | Extract<Failure['do'], 'stall' | 'cut' | 'early-end'>;

export interface Reply {
  readonly type: 'reply';
  readonly pieces: readonly Piece[];
  readonly usage: Usage;
  readonly ending: Ending;
}

export type Answer =
  | Reply
  | { readonly type: 'status'; readonly afterMs: number; readonly status: number; readonly retryAfter?: string }
  | { readonly type: 'drop' | 'hang'; readonly afterMs: number };

/** What a request to some path wants. */
export type Asked = 'turn' | 'count' | 'models' | 'hello';

/** Ids of one answer. Those of tool calls are the same for the same request body, so that a retry gets the same answer. */
export interface Ids {
  readonly request: string;
  call(index: number): string;
}

/** One provider's protocol. */
export interface Wire {
  readonly name: string;
  route(method: string, path: string): Asked | undefined;
  /** Throws `BadRequest` for what the provider would refuse. */
  decode(
    body: JsonObject,
    headers: Readonly<Record<string, string | string[] | undefined>>,
    bytes: number,
  ): Conversation;
  /** The stream of a reply, piece by piece, without its closing events unless it ends in good order. A number is a wait in ms. */
  stream(reply: Reply, model: string, ids: Ids): Iterable<string | number>;
  /** The same reply to a request that wants no stream. */
  whole(reply: Reply, model: string, ids: Ids): JsonObject;
  count(conversation: Conversation): JsonObject;
  models(path: string): JsonObject | undefined;
  error(status: number, message: string, requestId: string): JsonObject;
  /** Headers that go with every answer. */
  headers(requestId: string): Readonly<Record<string, string>>;
}

export class BadRequest extends Error {
  override name = 'BadRequest';
}

const floodLine = 'This line is one of many, and no model wrote it.\n';

/** The text of a flood in parts of at most 16 KiB, made as they are asked for. */
export function* flood(bytes: number): Generator<string> {
  const block = floodLine.repeat(Math.ceil(16_384 / floodLine.length)).slice(0, 16_384);
  for (let left = bytes; left > 0; left -= block.length) yield block.slice(0, left);
}

/** Text in a few parts, never through the middle of a character. */
export function chunks(text: string): string[] {
  const characters = Array.from(text);
  const size = Math.max(16, Math.ceil(characters.length / 4));
  const parts: string[] = [];
  for (let index = 0; index < characters.length; index += size) {
    parts.push(characters.slice(index, index + size).join(''));
  }
  return parts;
}
