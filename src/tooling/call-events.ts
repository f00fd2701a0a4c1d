import type { Mask } from '../base/mask.ts';
import type { InterruptReason, NewEvent, ToolKind } from '../protocol/events.ts';
import type { ToolEffect } from '../protocol/tool-effect.ts';

/** Masks and cuts what the journal is told of a call. */
export interface EventText {
  readonly mask: Mask;
  /** Longest input or output that an event holds. */
  readonly maxBytes: number;
}

export interface CalledFacts {
  readonly callId: string;
  readonly name: string;
  readonly effect: ToolEffect;
  readonly input: unknown;
  readonly via: 'mcp' | 'rpc';
  readonly parentCallId?: string;
}

export interface FinishedFacts {
  readonly callId: string;
  readonly outcome: 'ok' | 'error';
  /** Masked already. */
  readonly text: string;
  readonly via: 'mcp' | 'rpc';
}

const kinds = { read: 'read', write: 'edit', execute: 'execute' } as const satisfies Record<ToolEffect, ToolKind>;

export function calledEvent({ mask, maxBytes }: EventText, called: CalledFacts): NewEvent {
  const { callId, name, effect, via, parentCallId } = called;
  const input = mask.deep(called.input as never) as unknown; // its tool's schema has accepted it: JSON
  const { text, bytes } = cut(JSON.stringify(input), maxBytes);
  return {
    type: 'tool.called',
    data: {
      callId,
      name,
      input: bytes === undefined ? input : text,
      kind: kinds[effect],
      via,
      ...(bytes !== undefined && { bytes }),
      ...(parentCallId !== undefined && { parentCallId: mask.text(parentCallId) }),
    },
  };
}

export function finishedEvent({ callId, outcome, text, via }: FinishedFacts, maxBytes: number): NewEvent {
  const { text: output, bytes } = cut(text, maxBytes);
  return { type: 'tool.finished', data: { callId, outcome, output, ...(bytes !== undefined && { bytes }), via } };
}

export function interruptedEvent(callId: string, reason: InterruptReason): NewEvent {
  return { type: 'tool.interrupted', data: { callId, reason } };
}

/** The beginning, between two characters, and the length of the whole if it is longer than that. */
function cut(text: string, maxBytes: number): { text: string; bytes?: number } {
  const bytes = Buffer.byteLength(text);
  if (bytes <= maxBytes) return { text };
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(maxBytes));
  return { text: text.slice(0, read), bytes };
}
