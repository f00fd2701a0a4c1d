/** The Gemini API's wire, and what Code Assist shares with it. */
import { BadRequest, joinText, partsOf, textOf } from './conversation.ts';
import type { Conversation, Ids, Item, Piece, Reply, Usage, Wire } from './conversation.ts';
import { isObject, objects, serverSentEvent, textIn } from './json.ts';
import type { JsonObject } from './script.ts';

const listedModels = ['gemini-3.1-pro-preview', 'gemini-3.8-flash', 'gemini-3.5-flash-lite'];

const statuses: Readonly<Record<number, string>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  402: 'FAILED_PRECONDITION',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  409: 'ABORTED',
  429: 'RESOURCE_EXHAUSTED',
  499: 'CANCELLED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

const turnPath = /^\/v1(?:beta)?\/models\/(.+):(generateContent|streamGenerateContent|countTokens)$/;

export const gemini: Wire = {
  name: 'gemini',

  route(method, path) {
    if (method === 'POST' && turnPath.test(path)) return path.endsWith(':countTokens') ? 'count' : 'turn';
    if (method === 'GET' && /^\/v1beta\/models(\/[^/]+)?$/.test(path)) return 'fixed';
    return undefined;
  },

  decode(body, { path, bytes }) {
    const [, model = '', method] = turnPath.exec(path) ?? [];
    const counted = method === 'countTokens' ? body['generateContentRequest'] : undefined;
    const content = decodeContent(isObject(counted) ? counted : body, bytes);
    return { ...content, model: decodeURIComponent(model), stream: method === 'streamGenerateContent' };
  },

  *stream(reply, conversation, ids) {
    for (const part of tellReply(reply, conversation, ids))
      yield typeof part === 'number' ? part : serverSentEvent(part);
  },

  whole(reply, { model }, ids) {
    let calls = 0;
    const parts = joinText(reply.pieces).flatMap((piece): JsonObject[] => {
      if (piece.type === 'wait') return [];
      return [piece.type === 'call' ? callPart(piece, ids.call(calls++)) : textPart(piece, textOf(piece))];
    });
    return { ...envelope(model, ids, parts, 'STOP'), usageMetadata: wireUsage(reply.usage) };
  },

  count: ({ inputTokens }) => ({ totalTokens: inputTokens }),

  fixed(path) {
    const id = path.split('/')[3];
    const describe = (name: string): JsonObject => ({
      name: `models/${name}`,
      displayName: `${name} (offline model, scripted)`,
      inputTokenLimit: 1_048_576,
      outputTokenLimit: 65_536,
      supportedGenerationMethods: ['generateContent', 'countTokens'],
    });
    return id === undefined ? { models: listedModels.map(describe) } : describe(decodeURIComponent(id));
  },

  error(status, message, _requestId, retryAfter) {
    const delay = { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${retryAfter}s` };
    return {
      error: {
        code: status,
        message,
        status: statuses[status] ?? 'UNKNOWN',
        ...(retryAfter !== undefined && { details: [delay] }),
      },
    };
  },

  noModel: (model) =>
    `models/${model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods.`,

  headers: () => ({}),
};

/** A request's contents: they are the same in both of Google's wires. */
export function decodeContent(body: JsonObject, bytes: number): Omit<Conversation, 'model' | 'stream'> {
  const { contents, systemInstruction, generationConfig, session_id: session } = body;
  if (contents === undefined || (Array.isArray(contents) && contents.length === 0)) {
    throw new BadRequest('* GenerateContentRequest.contents: contents is not specified');
  }
  if (!Array.isArray(contents) || !contents.every(isObject)) {
    throw new BadRequest(
      "Invalid value at 'contents' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content)",
    );
  }
  checkTurns(contents);
  const { responseJsonSchema, responseSchema } = isObject(generationConfig) ? generationConfig : ({} as JsonObject);
  const schema = responseJsonSchema ?? responseSchema;
  return {
    ...(typeof session === 'string' && { session }),
    messages: contents.length,
    system: isObject(systemInstruction) ? textIn(systemInstruction['parts'] ?? [systemInstruction]) : '',
    items: contents.flatMap(toItems),
    tools: objects(body['tools']).flatMap(toolNames),
    ...(isObject(schema) && { schema }),
    inputTokens: Math.ceil(bytes / 4),
  };
}

/** A reply as the chunks of a stream; a number is a wait in ms. */
export function* tellReply(reply: Reply, { model }: Conversation, ids: Ids): Generator<JsonObject | number> {
  let calls = 0;
  for (const piece of joinText(reply.pieces)) {
    if (piece.type === 'wait') yield piece.ms;
    else if (piece.type === 'call') yield envelope(model, ids, [callPart(piece, ids.call(calls++))]);
    else for (const part of partsOf(piece)) yield envelope(model, ids, [textPart(piece, part)]);
  }
  if (reply.ending !== 'finish') return;
  const last = envelope(model, ids, [{ text: '' }], 'STOP');
  yield { ...last, usageMetadata: wireUsage(reply.usage) };
}

function envelope(model: string, ids: Ids, parts: readonly JsonObject[], finishReason?: string): JsonObject {
  const candidate = {
    content: { role: 'model', parts },
    ...(finishReason !== undefined && { finishReason }),
    index: 0,
  };
  return { candidates: [candidate], modelVersion: model, responseId: ids.request };
}

function textPart({ type }: Piece, text: string): JsonObject {
  return type === 'thinking' ? { text, thought: true } : { text };
}

function callPart({ name, input }: Extract<Piece, { type: 'call' }>, id: string): JsonObject {
  const args = typeof input === 'string' ? { input } : input;
  return { functionCall: { id: `call_${id}`, name, args }, thoughtSignature: 'b2ZmbGluZSBtb2RlbA==' };
}

function wireUsage({ input, output, cached }: Usage): JsonObject {
  return {
    promptTokenCount: input + cached,
    ...(cached > 0 && { cachedContentTokenCount: cached }),
    candidatesTokenCount: output,
    totalTokenCount: input + cached + output,
  };
}

/** Answers to calls come right after them, and as many as there were calls. On resume gemini sends each one twice: that is one. */
function checkTurns(contents: readonly JsonObject[]): void {
  let open = 0;
  for (const { parts } of contents) {
    const answers = objects(parts).flatMap(({ functionResponse: answer }) => (isObject(answer) ? [answer] : []));
    const answered = new Set(answers.map(({ id }, index) => id ?? index)).size;
    if (answered !== open) {
      throw new BadRequest(
        'Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.',
      );
    }
    open = objects(parts).filter((part) => 'functionCall' in part).length;
  }
}

function toItems({ role, parts }: JsonObject): Item[] {
  return objects(parts).flatMap((part): Item[] => {
    const { text, thought, functionCall: call, functionResponse: response } = part;
    if (isObject(call)) return [{ type: 'call', name: String(call['name']) }];
    if (isObject(response)) {
      const { output, error } = isObject(response['response']) ? response['response'] : ({} as JsonObject);
      return [{ type: 'result', text: asText(output ?? error ?? response['response']), isError: output === undefined }];
    }
    if (typeof text !== 'string' || thought === true) return [];
    return [{ type: 'text', role: role === 'model' ? 'assistant' : 'user', text }];
  });
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? '');
}

/** The names of functions, and the provider's own tools by the names of their fields. */
function toolNames(tool: JsonObject): string[] {
  return Object.entries(tool).flatMap(([kind, declared]) =>
    kind === 'functionDeclarations' ? objects(declared).map(({ name }) => String(name)) : [kind],
  );
}
