/** The OpenAI Responses wire, as codex speaks it: tools in namespaces, tools offered inside the input, tools that take text. */
import { BadRequest, joinText, partsOf, chunks, textOf } from './conversation.ts';
import type { Conversation, Ids, Item, Piece, Usage, Wire } from './conversation.ts';
import { objects, serverSentEvent, textIn } from './json.ts';
import { checkCalls, kindOf, openai, requiredModel, schemaIn } from './openai.ts';
import type { JsonObject } from './script.ts';

export const responses: Wire = {
  ...openai,
  name: 'openai-responses',

  route(method, path) {
    if (method === 'POST' && path.endsWith('/responses')) return 'turn';
    if (method === 'POST' && path.endsWith('/responses/input_tokens')) return 'count';
    if (method === 'GET' && /^\/([^_].*\/)?models(\/[^/]+)?$/.test(path) && !path.startsWith('/v1beta')) return 'fixed';
    return undefined;
  },

  decode(body, { bytes }): Conversation {
    const model = requiredModel(body);
    const { input, instructions } = body;
    if (input === undefined) throw new BadRequest("Missing required parameter: 'input'.");
    if (typeof input !== 'string' && !Array.isArray(input)) {
      throw new BadRequest(`Invalid type for 'input': expected one of a string or array, but got ${kindOf(input)}.`);
    }
    if (typeof body['previous_response_id'] === 'string') {
      throw new BadRequest(`Previous response with id '${body['previous_response_id']}' not found.`);
    }
    const entries = objects(input);
    const items: Item[] = typeof input === 'string' ? [user(input)] : entries.flatMap(toItems);
    checkCalls(items, {
      orphaned: 'No tool call found for function call output with call_id ID.',
      unanswered: 'No tool output found for function call ID.',
    });
    const added = entries.flatMap(({ type, tools }) => (type === 'additional_tools' ? objects(tools) : []));
    return {
      model,
      stream: body['stream'] === true,
      messages: typeof input === 'string' ? 1 : entries.length,
      system: [instructions, ...entries.map(({ role, content }) => (isSystem(role) ? textIn(content) : ''))]
        .filter((text) => typeof text === 'string' && text !== '')
        .join('\n'),
      items,
      tools: [...objects(body['tools']), ...added].flatMap((tool) => toolNames(tool)),
      ...schemaIn((body['text'] as JsonObject | undefined)?.['format']),
      inputTokens: Math.ceil(bytes / 4),
    };
  },

  *stream(reply, { model }, ids) {
    let number = 0;
    const tell: Tell = (type, data) => serverSentEvent({ type, sequence_number: number++, ...data }, type);
    const begun = { ...response(model, ids), status: 'in_progress', output: [], usage: null };
    yield tell('response.created', { response: begun });
    yield tell('response.in_progress', { response: begun });
    const output: JsonObject[] = [];
    for (const block of toBlocks(reply.pieces)) {
      if (block.type === 'wait') yield block.ms;
      else output.push(yield* blockEvents(block, output.length, ids, tell));
    }
    if (reply.ending !== 'finish') return;
    yield tell('response.completed', {
      response: { ...response(model, ids), status: 'completed', output, usage: wireUsage(reply.usage) },
    });
  },

  whole(reply, { model }, ids) {
    const output = toBlocks(reply.pieces).flatMap((block, index) =>
      block.type === 'wait' ? [] : [itemOf(block, index, ids)],
    );
    return { ...response(model, ids), status: 'completed', output, usage: wireUsage(reply.usage) };
  },

  count: ({ inputTokens }) => ({ object: 'response.input_tokens', input_tokens: inputTokens }),
};

type Tell = (type: string, data: JsonObject) => string;

type Said = Extract<Piece, { type: 'text' | 'flood' | 'wait' }>;

/** One item of the output: texts, and the silences between them, are one message. */
type Block = Extract<Piece, { type: 'thinking' | 'call' }> | { readonly type: 'message'; readonly pieces: Said[] };

function toBlocks(pieces: readonly Piece[]): (Block | Extract<Piece, { type: 'wait' }>)[] {
  const blocks: (Block | Extract<Piece, { type: 'wait' }>)[] = [];
  for (const piece of joinText(pieces)) {
    const last = blocks.at(-1);
    if (piece.type === 'thinking' || piece.type === 'call') blocks.push(piece);
    else if (last?.type === 'message') last.pieces.push(piece);
    else blocks.push(piece.type === 'wait' ? piece : { type: 'message', pieces: [piece] });
  }
  return blocks;
}

/** The events of one item of the output; returns the item. */
function* blockEvents(block: Block, index: number, ids: Ids, tell: Tell): Generator<string | number, JsonObject> {
  const item = itemOf(block, index, ids);
  const at = { item_id: item['id'], output_index: index };
  const tellItem = (type: string, fields: JsonObject = {}): string =>
    tell(`response.output_item.${type}`, { output_index: index, item: { ...item, ...fields } });
  switch (block.type) {
    case 'message': {
      const part = { ...at, content_index: 0 };
      yield tellItem('added', { status: 'in_progress', content: [] });
      yield tell('response.content_part.added', { ...part, part: outputText('') });
      for (const piece of block.pieces) {
        if (piece.type === 'wait') yield piece.ms;
        else for (const delta of partsOf(piece)) yield tell('response.output_text.delta', { ...part, delta });
      }
      const last = block.pieces.at(-1);
      if (last?.type === 'text' && last.open) return item;
      const text = messageText(block.pieces);
      yield tell('response.output_text.done', { ...part, text });
      yield tell('response.content_part.done', { ...part, part: outputText(text) });
      break;
    }
    case 'thinking': {
      const part = { ...at, summary_index: 0 };
      yield tellItem('added', { summary: [] });
      yield tell('response.reasoning_summary_part.added', { ...part, part: { type: 'summary_text', text: '' } });
      for (const delta of partsOf(block)) yield tell('response.reasoning_summary_text.delta', { ...part, delta });
      yield tell('response.reasoning_summary_text.done', { ...part, text: block.text });
      yield tell('response.reasoning_summary_part.done', { ...part, part: { type: 'summary_text', text: block.text } });
      break;
    }
    case 'call': {
      const isText = typeof block.input === 'string';
      const [kind, field] = isText ? ['custom_tool_call_input', 'input'] : ['function_call_arguments', 'arguments'];
      const text = String(item[field]);
      yield tellItem('added', { status: 'in_progress', [field]: '' });
      for (const delta of chunks(text)) yield tell(`response.${kind}.delta`, { ...at, delta });
      yield tell(`response.${kind}.done`, { ...at, [field]: text });
    }
  }
  yield tellItem('done');
  return item;
}

function itemOf(block: Block, index: number, ids: Ids): JsonObject {
  switch (block.type) {
    case 'message':
      return {
        type: 'message',
        id: `msg_${ids.request}_${index}`,
        status: 'completed',
        role: 'assistant',
        content: [outputText(messageText(block.pieces))],
      };
    case 'thinking':
      return {
        type: 'reasoning',
        id: `rs_${ids.request}_${index}`,
        summary: [{ type: 'summary_text', text: block.text }],
        encrypted_content: 'b2ZmbGluZSBtb2RlbA==',
      };
    case 'call': {
      const [, namespace, name] = /^(?:(.*)\/)?(.*)$/.exec(block.name) ?? [];
      const call = { call_id: `call_${ids.call(index)}`, name, ...(namespace !== undefined && { namespace }) };
      return typeof block.input === 'string'
        ? {
            type: 'custom_tool_call',
            id: `ctc_${ids.request}_${index}`,
            status: 'completed',
            ...call,
            input: block.input,
          }
        : {
            type: 'function_call',
            id: `fc_${ids.request}_${index}`,
            status: 'completed',
            ...call,
            arguments: JSON.stringify(block.input),
          };
    }
  }
}

function messageText(pieces: readonly Said[]): string {
  return pieces.map((piece) => (piece.type === 'wait' ? '' : textOf(piece))).join('');
}

function outputText(text: string): JsonObject {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function response(model: string, ids: Ids): JsonObject {
  return {
    id: `resp_${ids.request}`,
    object: 'response',
    created_at: Math.floor(Date.now() / 1000),
    model,
    error: null,
    incomplete_details: null,
    parallel_tool_calls: true,
    store: false,
  };
}

function wireUsage({ input, output, cached }: Usage): JsonObject {
  return {
    input_tokens: input + cached,
    input_tokens_details: { cached_tokens: cached },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: input + cached + output,
  };
}

function toItems(entry: JsonObject, position: number): Item[] {
  const { type = 'message', role, content, call_id: id } = entry;
  switch (type) {
    case 'message': {
      if (typeof content !== 'string' && !Array.isArray(content)) {
        throw new BadRequest(`Missing required parameter: 'input[${position}].content'.`);
      }
      if (role !== 'user' && role !== 'assistant') return [];
      const texts = typeof content === 'string' ? [content] : objects(content).map((part) => textIn([part]));
      return texts.map((text) => ({ type: 'text', role, text }));
    }
    case 'function_call':
    case 'custom_tool_call':
      return [{ type: 'call', name: String(entry['name']), id: String(id) }];
    case 'function_call_output':
    case 'custom_tool_call_output':
      return [{ type: 'result', text: textIn(entry['output']), isError: false, id: String(id) }];
    default:
      return [];
  }
}

function isSystem(role: unknown): boolean {
  return role === 'system' || role === 'developer';
}

function user(text: string): Item {
  return { type: 'text', role: 'user', text };
}

/** Names as they are offered, those in a namespace behind its name; a tool of the provider's own has its type as its name. */
function toolNames(tool: JsonObject, namespace = ''): string[] {
  const name = typeof tool['name'] === 'string' ? tool['name'] : String(tool['type']);
  if (tool['type'] === 'namespace') return objects(tool['tools']).flatMap((each) => toolNames(each, `${name}/`));
  return [`${namespace}${name}`];
}
