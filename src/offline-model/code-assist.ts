/** The Code Assist wire, which gemini speaks when somebody is logged in: Gemini's contents in an envelope, and a few questions about the account. */
import { BadRequest } from './conversation.ts';
import type { Wire } from './conversation.ts';
import { decodeContent, gemini, tellReply } from './gemini.ts';
import { isObject, serverSentEvent } from './json.ts';
import type { JsonObject } from './script.ts';

const project = { id: 'offline-model', name: 'projects/offline-model', projectNumber: '1' };
const tier = { id: 'standard-tier', name: 'Offline model (scripted)', isDefault: true };

/** What is said to questions that no model is asked. */
const known: Readonly<Record<string, JsonObject>> = {
  loadCodeAssist: { currentTier: tier, allowedTiers: [tier], cloudaicompanionProject: project.id },
  onboardUser: { done: true, response: { cloudaicompanionProject: project } },
  listExperiments: { experimentIds: [], flags: [] },
  fetchAdminControls: {},
  getCodeAssistGlobalUserSetting: { freeTierDataCollectionOptin: false },
  setCodeAssistGlobalUserSetting: { freeTierDataCollectionOptin: false },
  recordCodeAssistMetrics: {},
  retrieveUserQuota: {
    buckets: [
      { modelId: 'gemini-3.1-pro-preview', tokenType: 'REQUESTS', remainingAmount: '1000', remainingFraction: 1 },
    ],
  },
};

export const codeAssist: Wire = {
  ...gemini,
  name: 'code-assist',

  route(_method, path) {
    const name = methodOf(path);
    if (name === 'generateContent' || name === 'streamGenerateContent') return 'turn';
    if (name === 'countTokens') return 'count';
    return name !== undefined && name in known ? 'fixed' : undefined;
  },

  decode(body, { path, bytes }) {
    const { request } = body;
    if (!isObject(request)) throw new BadRequest('Request contains an invalid argument.');
    const model = body['model'] ?? request['model'];
    if (typeof model !== 'string' || model === '') throw new BadRequest('Request contains an invalid argument.');
    const stream = methodOf(path) === 'streamGenerateContent';
    return { ...decodeContent(request, bytes), model: model.replace('models/', ''), stream };
  },

  *stream(reply, conversation, ids) {
    for (const part of tellReply(reply, conversation, ids)) {
      yield typeof part === 'number' ? part : serverSentEvent({ response: part, traceId: ids.request });
    }
  },

  whole: (reply, conversation, ids) => ({ response: gemini.whole(reply, conversation, ids), traceId: ids.request }),

  fixed: (path) => known[methodOf(path) ?? ''],

  noModel: () => 'Requested entity was not found.',
};

function methodOf(path: string): string | undefined {
  return /^\/v1internal:(\w+)$/.exec(path)?.[1];
}
