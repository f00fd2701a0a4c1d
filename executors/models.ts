import type { Model } from '../src/kit/model.ts';

/** The models that harnessd knows by itself. A policy can add others and forbid any. */
export const models: readonly Model[] = [
  { id: 'claude-opus-4.6', provider: 'anthropic', native: 'claude-opus-4-6', executors: ['claude', 'opencode'] },
  { id: 'claude-sonnet-4.6', provider: 'anthropic', native: 'claude-sonnet-4-6', executors: ['claude', 'opencode'] },
  { id: 'gpt-5.4', provider: 'openai', native: 'gpt-5.4', executors: ['claude', 'codex', 'opencode'] },
  { id: 'gpt-5.3-codex', provider: 'openai', native: 'gpt-5.3-codex', executors: ['claude', 'codex', 'opencode'] },
  { id: 'gemini-3.1-pro', provider: 'google', native: 'gemini-3.1-pro-preview', executors: ['claude', 'opencode'] },
  { id: 'gemini-3-flash', provider: 'google', native: 'gemini-3-flash-preview', executors: ['claude', 'opencode'] },
  {
    id: 'auto-gemini-3',
    provider: 'google',
    native: 'auto-gemini-3',
    executors: ['gemini'],
    // Gemini CLI 0.61.0 asks a small model which of two to take; with a subscription (Code Assist) they have other names.
    auxiliary: [
      'gemini-3.5-flash-lite',
      'gemini-3.8-flash',
      'gemini-3.1-pro-preview-customtools',
      'gemini-3.1-pro-preview',
      'gemini-3.1-flash-lite',
      'gemini-3-flash-preview',
      'gemini-3-pro-preview',
    ],
  },
  { id: 'minimax-m2.7', provider: 'open_source', native: 'minimax/minimax-m2.7', executors: ['claude', 'opencode'] },
  { id: 'kimi-k2.5', provider: 'open_source', native: 'moonshotai/kimi-k2.5', executors: ['claude', 'opencode'] },
  { id: 'glm-5', provider: 'open_source', native: 'z-ai/glm-5', executors: ['claude', 'opencode'] },
];
