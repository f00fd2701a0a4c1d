/** What OpenAI's two wires share: errors, the list of models, and what a request must hold. */
import { BadRequest, orphanedResult, unansweredCall } from './conversation.ts';
import type { Item, Wire } from './conversation.ts';
import type { JsonObject } from './script.ts';

const listedModels = ['gpt-5.4', 'gpt-5.3-codex'];

/** The type and the code of an error, as OpenAI and those that speak like it give them. */
const errors: Readonly<Record<number, readonly [type: string, code: string | null]>> = {
  401: ['invalid_request_error', 'invalid_api_key'],
  402: ['insufficient_quota', 'insufficient_quota'],
  403: ['permission_error', null],
  404: ['invalid_request_error', 'model_not_found'],
  429: ['requests', 'rate_limit_exceeded'],
  503: ['service_unavailable_error', 'server_is_overloaded'],
};

export const openai = {
  fixed(path) {
    const id = /\/models\/([^/]+)$/.exec(path)?.[1];
    const describe = (name: string): JsonObject => ({
      id: name,
      object: 'model',
      created: 1_767_225_600,
      owned_by: 'offline-model',
    });
    return id === undefined ? { object: 'list', data: listedModels.map(describe) } : describe(decodeURIComponent(id));
  },

  error(status, message) {
    const [type, code] = errors[status] ?? [status < 500 ? 'invalid_request_error' : 'server_error', null];
    return { error: { message, type, param: null, code } };
  },

  noModel: (model) => `The model \`${model}\` does not exist or you do not have access to it.`,

  headers: (requestId) => ({ 'x-request-id': requestId, 'openai-organization': 'offline-model' }),
} satisfies Partial<Wire>;

export function requiredModel(body: JsonObject): string {
  const { model } = body;
  if (model === undefined || model === '') throw new BadRequest('you must provide a model parameter');
  if (typeof model !== 'string') {
    throw new BadRequest(`Invalid type for 'model': expected a string, but got ${kindOf(model)} instead.`);
  }
  return model;
}

/** The schema of an answer that is to be JSON, from where either wire has it. */
export function schemaIn(format: unknown): { schema?: JsonObject } {
  const { type, schema, json_schema: wrapped } = (format ?? {}) as JsonObject;
  const found = type === 'json_schema' ? (schema ?? (wrapped as JsonObject | undefined)?.['schema']) : undefined;
  return found === undefined ? {} : { schema: found as JsonObject };
}

export function checkCalls(items: readonly Item[], messages: { orphaned: string; unanswered: string }): void {
  const orphan = orphanedResult(items);
  if (orphan !== undefined) throw new BadRequest(messages.orphaned.replace('ID', orphan));
  const open = unansweredCall(items);
  if (open !== undefined) throw new BadRequest(messages.unanswered.replace('ID', open));
}

export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
