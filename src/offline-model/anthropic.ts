/** The Anthropic Messages wire. */
import { BadRequest, callsTool, chunks, joinText, orphanedResult, partsOf, textOf } from './conversation.ts';
import type { Conversation, Ids, Item, Reply, Usage, Wire } from './conversation.ts';
import { objects, serverSentEvent, textIn } from './json.ts';
import type { JsonObject } from './script.ts';

const errorTypes: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
};

const listedModels = ['claude-opus-4-6', 'claude-sonnet-4-6', 'claude-haiku-4-5'];

export const anthropic: Wire = {
  name: 'anthropic',

  route(method, path, headers) {
    if (method === 'POST' && path === '/v1/messages') return 'turn';
    if (method === 'POST' && path === '/v1/messages/count_tokens') return 'count';
    // The same path lists OpenAI's models: whoever wants Anthropic's says so.
    const isAnthropic = 'anthropic-version' in headers || 'x-api-key' in headers;
    if (method === 'GET' && isAnthropic && /^\/v1\/models(\/[^/]+)?$/.test(path)) return 'fixed';
    if ((method === 'HEAD' || method === 'GET') && path === '/api/hello') return 'fixed';
    return undefined;
  },

  decode(body, { bytes }): Conversation {
    if (typeof body['model'] !== 'string' || body['model'] === '') throw new BadRequest('model: Field required');
    if (!Array.isArray(body['messages'])) throw new BadRequest('messages: Field required');
    if (body['messages'].length === 0) throw new BadRequest('messages: at least one message is required');
    const items = body['messages'].flatMap(toItems);
    const orphan = orphanedResult(items);
    if (orphan !== undefined) {
      throw new BadRequest(
        `messages: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${orphan}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`,
      );
    }
    return {
      model: body['model'],
      stream: body['stream'] === true,
      messages: body['messages'].length,
      system: textIn(body['system']),
      items,
      tools: objects(body['tools']).flatMap(({ name }) => (typeof name === 'string' ? [name] : [])),
      inputTokens: Math.ceil(bytes / 4),
    };
  },

  *stream(reply, { model }, ids) {
    yield event('message_start', {
      message: { ...message(model, ids), content: [], usage: wireUsage(reply.usage, 1) },
    });
    yield event('ping', {});
    yield* contentEvents(reply, ids);
    if (reply.ending !== 'finish') return;
    const delta = { stop_reason: stopReason(reply), stop_sequence: null };
    yield event('message_delta', { delta, usage: wireUsage(reply.usage, reply.usage.output) });
    yield event('message_stop', {});
  },

  whole(reply, { model }, ids) {
    const content: JsonObject[] = [];
    let calls = 0;
    for (const piece of joinText(reply.pieces)) {
      if (piece.type === 'text' || piece.type === 'flood') content.push({ type: 'text', text: textOf(piece) });
      if (piece.type === 'thinking') content.push({ type: 'thinking', thinking: piece.text, signature });
      if (piece.type === 'call')
        content.push({ type: 'tool_use', id: `toolu_${ids.call(calls++)}`, name: piece.name, input: piece.input });
    }
    return {
      ...message(model, ids),
      content,
      stop_reason: stopReason(reply),
      usage: wireUsage(reply.usage, reply.usage.output),
    };
  },

  count: ({ inputTokens }) => ({ input_tokens: inputTokens }),

  fixed(path) {
    if (!path.startsWith('/v1/models')) return undefined;
    const id = path.split('/')[3];
    const describe = (name: string): JsonObject => ({
      type: 'model',
      id: name,
      display_name: `${name} (offline model, scripted)`,
      created_at: '2026-01-01T00:00:00Z',
    });
    if (id !== undefined) return describe(decodeURIComponent(id));
    return {
      data: listedModels.map(describe),
      has_more: false,
      first_id: listedModels[0],
      last_id: listedModels.at(-1),
    };
  },

  error: (status, text, requestId) => ({
    type: 'error',
    error: { type: errorTypes[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error'), message: text },
    request_id: requestId,
  }),

  noModel: (model) => `model: ${model}`,

  headers: (requestId) => ({ 'request-id': requestId, 'anthropic-organization-id': 'offline-model' }),
};

const signature = 'b2ZmbGluZSBtb2RlbA==';

function* contentEvents(reply: Reply, ids: Ids): Generator<string | number> {
  let index = -1;
  let calls = 0;
  let open: 'text' | 'thinking' | undefined;
  function* close(): Generator<string> {
    if (open === undefined) return;
    if (open === 'thinking')
      yield event('content_block_delta', { index, delta: { type: 'signature_delta', signature } });
    open = undefined;
    yield event('content_block_stop', { index });
  }
  for (const piece of joinText(reply.pieces)) {
    if (piece.type === 'wait') {
      yield piece.ms;
      continue;
    }
    const kind = piece.type === 'flood' ? 'text' : piece.type;
    if (open !== kind || kind === 'thinking') {
      yield* close();
      index += 1;
      if (kind !== 'call') {
        open = kind;
        const empty = kind === 'text' ? { type: 'text', text: '' } : { type: 'thinking', thinking: '', signature: '' };
        yield event('content_block_start', { index, content_block: empty });
      }
    }
    if (piece.type === 'call') {
      const block = { type: 'tool_use', id: `toolu_${ids.call(calls++)}`, name: piece.name, input: {} };
      yield event('content_block_start', { index, content_block: block });
      for (const part of chunks(JSON.stringify(piece.input))) {
        yield event('content_block_delta', { index, delta: { type: 'input_json_delta', partial_json: part } });
      }
      yield event('content_block_stop', { index });
    } else if (piece.type === 'thinking') {
      for (const part of partsOf(piece)) {
        yield event('content_block_delta', { index, delta: { type: 'thinking_delta', thinking: part } });
      }
    } else {
      for (const part of partsOf(piece)) {
        yield event('content_block_delta', { index, delta: { type: 'text_delta', text: part } });
      }
    }
  }
  const last = reply.pieces.at(-1);
  if (!(last?.type === 'text' && last.open)) yield* close();
}

function event(type: string, data: JsonObject): string {
  return serverSentEvent({ type, ...data }, type);
}

function message(model: string, ids: Ids): JsonObject {
  return {
    id: `msg_${ids.request}`,
    type: 'message',
    role: 'assistant',
    model,
    stop_reason: null,
    stop_sequence: null,
  };
}

function stopReason(reply: Reply): string {
  return callsTool(reply) ? 'tool_use' : 'end_turn';
}

function wireUsage({ input, cached }: Usage, output: number): JsonObject {
  return {
    input_tokens: input,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cached,
    output_tokens: output,
  };
}

function toItems(value: unknown, position: number): Item[] {
  const [entry] = objects([value]);
  const content = entry?.['content'];
  const role = entry?.['role'];
  if (typeof content !== 'string' && !Array.isArray(content)) {
    throw new BadRequest(`messages.${position}.content: Field required`);
  }
  if (role !== 'user' && role !== 'assistant') return [];
  if (typeof content === 'string') return [{ type: 'text', role, text: content }];
  return objects(content).flatMap((block): Item[] => {
    if (block['type'] === 'text') return [{ type: 'text', role, text: String(block['text']) }];
    if (block['type'] === 'tool_use') return [{ type: 'call', name: String(block['name']), id: String(block['id']) }];
    if (block['type'] !== 'tool_result') return [];
    const { content, is_error: isError, tool_use_id: id } = block;
    return [{ type: 'result', text: textIn(content), isError: isError === true, id: String(id) }];
  });
}
