/** What passes between the wires and the story: a request and its answer, in no provider's shape. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Failure, JsonObject } from './script.ts';

export type Item =
  | { readonly type: 'text'; readonly role: 'user' | 'assistant'; readonly text: string }
  | { readonly type: 'call'; readonly name: string; readonly id?: string }
  | { readonly type: 'result'; readonly text: string; readonly isError: boolean; readonly id?: string };

export interface Conversation {
  readonly model: string;
  readonly stream: boolean;
  /** The CLI's own conversation id, when the wire carries it. */
  readonly session?: string;
  /** How many messages the request has. */
  readonly messages: number;
  /** What the provider is told to be; errands of a CLI are known by it. */
  readonly system?: string;
  /** Everything said so far, in order; a message with several parts is several items. */
  readonly items: readonly Item[];
  /** Names of the tools that are offered; one inside a namespace is `namespace/name`. */
  readonly tools: readonly string[];
  /** The JSON schema that the answer must follow, when no text is wanted. */
  readonly schema?: JsonObject;
  /** False when the stream is not to tell how many tokens were used. */
  readonly tellsUsage?: boolean;
  /** Estimated from the size of the request. */
  readonly inputTokens: number;
}

/** `input` as text is that of a tool which takes no JSON. */
export interface ToolCall {
  readonly name: string;
  readonly input: JsonObject | string;
}

export type Piece =
  | { readonly type: 'thinking'; readonly text: string }
  /** `open` text breaks off before its end. */
  | { readonly type: 'text'; readonly text: string; readonly open?: true }
  | { readonly type: 'flood'; readonly bytes: number }
  | ({ readonly type: 'call' } & ToolCall)
  | { readonly type: 'wait'; readonly ms: number };

/** `input` is what was not cached: providers that count cached tokens as input are told the sum. */
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

/** What a request to some path wants: the model's words, a count of tokens, or something that has a fixed answer. */
export type Asked = 'turn' | 'count' | 'fixed';

/** Ids of one answer, to which a wire adds its prefix. Those of tool calls are the same for the same request body, so that a retry gets the same answer. */
export interface Ids {
  readonly request: string;
  call(index: number): string;
}

export interface Envelope {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: number;
}

/** One provider's protocol. */
export interface Wire {
  readonly name: string;
  route(method: string, path: string, headers: IncomingHttpHeaders): Asked | undefined;
  /** Throws `BadRequest` for what the provider would refuse. */
  decode(body: JsonObject, envelope: Envelope): Conversation;
  /** The stream of a reply, piece by piece, without its closing events unless it ends in good order. A number is a wait in ms. */
  stream(reply: Reply, conversation: Conversation, ids: Ids): Iterable<string | number>;
  /** The same reply to a request that wants no stream. */
  whole(reply: Reply, conversation: Conversation, ids: Ids): JsonObject;
  count(conversation: Conversation): JsonObject;
  fixed(path: string): JsonObject | undefined;
  error(status: number, message: string, requestId: string, retryAfter?: string): JsonObject;
  /** What is said of a model that there is not. */
  noModel(model: string): string;
  /** Headers that go with every answer. */
  headers(requestId: string): Readonly<Record<string, string>>;
}

export class BadRequest extends Error {
  override name = 'BadRequest';
}

/** The first result whose call the history does not hold: providers refuse it. */
export function orphanedResult(items: readonly Item[]): string | undefined {
  const called = new Set<string>();
  for (const item of items) {
    if (item.type === 'call' && item.id !== undefined) called.add(item.id);
    if (item.type === 'result' && item.id !== undefined && !called.has(item.id)) return item.id;
  }
  return undefined;
}

/** The first call without a result: providers that insist on one refuse it. */
export function unansweredCall(items: readonly Item[]): string | undefined {
  const answered = new Set(items.flatMap((item) => (item.type === 'result' && item.id !== undefined ? [item.id] : [])));
  for (const item of items) {
    if (item.type === 'call' && item.id !== undefined && !answered.has(item.id)) return item.id;
  }
  return undefined;
}

export function callsTool({ pieces }: Reply): boolean {
  return pieces.some(({ type }) => type === 'call');
}

/** Neighbouring texts as one, a line apart: a message has one text block where nothing comes between. */
export function joinText(pieces: readonly Piece[]): Piece[] {
  const joined: Piece[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (piece.type === 'text' && last?.type === 'text') {
      joined[joined.length - 1] = { ...piece, text: `${last.text}\n${piece.text}` };
    } else {
      joined.push(piece);
    }
  }
  return joined;
}

/** What a piece says, part by part as a stream tells it. */
export function partsOf(piece: Extract<Piece, { type: 'text' | 'thinking' | 'flood' }>): Iterable<string> {
  return piece.type === 'flood' ? flood(piece.bytes) : chunks(piece.text);
}

/** What a piece says, in one. */
export function textOf(piece: Extract<Piece, { type: 'text' | 'thinking' | 'flood' }>): string {
  return piece.type === 'flood' ? [...flood(piece.bytes)].join('') : piece.text;
}

/**
 * The text of a flood in parts of about 16 KiB, made as they are asked for. No two lines are alike, because gemini takes a text
 * that repeats itself for a loop and ends the run.
 */
function* flood(bytes: number): Generator<string> {
  let line = 0;
  for (let left = bytes; left > 0;) {
    let part = '';
    while (part.length < Math.min(left, 16_384)) part += `Line ${++line} of many, and no model wrote it.\n`;
    yield part.slice(0, left);
    left -= part.length;
  }
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
