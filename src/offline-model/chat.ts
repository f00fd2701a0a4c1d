/** The OpenAI Chat Completions wire. */
import { BadRequest, callsTool, chunks, joinText, partsOf, textOf } from './conversation.ts';
import type { Conversation, Ids, Item, Piece, Reply, Usage, Wire } from './conversation.ts';
import { isObject, objects, serverSentEvent, textIn } from './json.ts';
import { checkCalls, kindOf, openai, requiredModel, schemaIn } from './openai.ts';
import type { JsonObject } from './script.ts';

const roles = ['system', 'developer', 'user', 'assistant', 'tool'];

export const chat: Wire = {
  ...openai,
  name: 'openai-chat',

  route: (method, path) => (method === 'POST' && path.endsWith('/chat/completions') ? 'turn' : undefined),

  decode(body, { bytes }): Conversation {
    const model = requiredModel(body);
    const { messages, stream, stream_options: options } = body;
    if (messages === undefined) throw new BadRequest("Missing required parameter: 'messages'.");
    if (!Array.isArray(messages)) {
      throw new BadRequest(`Invalid type for 'messages': expected an array of objects, but got ${kindOf(messages)}.`);
    }
    if (messages.length === 0)
      throw new BadRequest("Invalid 'messages': empty array. Expected an array with minimum length 1.");
    const items = messages.flatMap(toItems);
    checkCalls(items, {
      orphaned:
        "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'. (ID)",
      unanswered:
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ID",
    });
    return {
      model,
      stream: stream === true,
      messages: messages.length,
      system: objects(messages)
        .flatMap(({ role, content }) => (role === 'system' || role === 'developer' ? [textIn(content)] : []))
        .join('\n'),
      items,
      tools: objects(body['tools']).flatMap(({ function: tool }) => (isObject(tool) ? [String(tool['name'])] : [])),
      ...schemaIn(body['response_format']),
      tellsUsage: isObject(options) && options['include_usage'] === true,
      inputTokens: Math.ceil(bytes / 4),
    };
  },

  *stream(reply, { model, tellsUsage }, ids) {
    const head = envelope('chat.completion.chunk', model, ids);
    const told = tellsUsage ? { usage: null } : {};
    const chunk = (delta: JsonObject, finish: string | null = null): string =>
      serverSentEvent({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...told });
    yield chunk({ role: 'assistant', content: '' });
    let calls = 0;
    for (const piece of joinText(reply.pieces)) {
      if (piece.type === 'wait') yield piece.ms;
      else if (piece.type === 'call') {
        const index = calls++;
        const [first, ...rest] = chunks(inputText(piece));
        yield chunk({ tool_calls: [{ ...toolCall(piece, index, ids, first ?? ''), index }] });
        for (const part of rest) yield chunk({ tool_calls: [{ index, function: { arguments: part } }] });
      } else {
        const field = piece.type === 'thinking' ? 'reasoning_content' : 'content';
        for (const part of partsOf(piece)) yield chunk({ [field]: part });
      }
    }
    if (reply.ending !== 'finish') return;
    yield chunk({}, finishReason(reply));
    if (tellsUsage) yield serverSentEvent({ ...head, choices: [], usage: wireUsage(reply.usage) });
    yield serverSentEvent('[DONE]');
  },

  whole(reply, { model }, ids) {
    const pieces = joinText(reply.pieces);
    const reasoning = pieces.flatMap((piece) => (piece.type === 'thinking' ? [piece.text] : [])).join('\n');
    const content = pieces.flatMap((piece) => (piece.type === 'text' || piece.type === 'flood' ? [textOf(piece)] : []));
    const calls = pieces
      .filter((piece) => piece.type === 'call')
      .map((piece, index) => toolCall(piece, index, ids, inputText(piece)));
    const message = {
      role: 'assistant',
      content: content.length > 0 ? content.join('') : null,
      ...(reasoning !== '' && { reasoning_content: reasoning }),
      ...(calls.length > 0 && { tool_calls: calls }),
      refusal: null,
    };
    return {
      ...envelope('chat.completion', model, ids),
      choices: [{ index: 0, message, logprobs: null, finish_reason: finishReason(reply) }],
      usage: wireUsage(reply.usage),
    };
  },

  count: ({ inputTokens }) => ({ input_tokens: inputTokens }),
};

type CallPiece = Extract<Piece, { type: 'call' }>;

function inputText({ input }: CallPiece): string {
  return typeof input === 'string' ? input : JSON.stringify(input);
}

function toolCall({ name }: CallPiece, index: number, ids: Ids, text: string): JsonObject {
  return { id: `call_${ids.call(index)}`, type: 'function', function: { name, arguments: text } };
}

function envelope(object: string, model: string, ids: Ids): JsonObject {
  return { id: `chatcmpl-${ids.request}`, object, created: Math.floor(Date.now() / 1000), model };
}

function finishReason(reply: Reply): string {
  return callsTool(reply) ? 'tool_calls' : 'stop';
}

function wireUsage({ input, output, cached }: Usage): JsonObject {
  return {
    prompt_tokens: input + cached,
    completion_tokens: output,
    total_tokens: input + cached + output,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

function toItems(value: unknown, position: number): Item[] {
  if (!isObject(value)) throw new BadRequest(`Invalid type for 'messages[${position}]': expected an object.`);
  const { role, content, tool_calls: calls, tool_call_id: id } = value;
  if (!roles.includes(String(role))) {
    throw new BadRequest(`Invalid value: '${String(role)}'. Supported values are: ${roles.join(', ')}.`);
  }
  if (typeof content !== 'string' && !Array.isArray(content) && role !== 'assistant') {
    throw new BadRequest(`Invalid value for 'content': expected a string, got ${kindOf(content)}.`);
  }
  if (role === 'tool') return [{ type: 'result', text: textIn(content), isError: false, id: String(id) }];
  if (role !== 'user' && role !== 'assistant') return [];
  const texts = typeof content === 'string' ? [content] : objects(content).map((part) => textIn([part]));
  return [
    ...texts.filter((text) => text !== '').map((text): Item => ({ type: 'text', role, text })),
    ...objects(calls).map((call): Item => {
      const { name } = (isObject(call['function']) ? call['function'] : {}) as { name?: unknown };
      return { type: 'call', name: String(name), id: String(call['id']) };
    }),
  ];
}
