import { describe, expect, test } from 'vitest';
import { Mask } from '../src/base/mask.ts';
import type { ExecutorEvent } from '../src/protocol/events.ts';
import { DeltaMask } from '../src/task/delta-mask.ts';

const secret = 'sk-söcret-0123456789';
const stars = '*'.repeat(Buffer.byteLength(secret));

const delta = (text: string, messageId = 'm'): ExecutorEvent => ({ type: 'message.delta', data: { text, messageId } });
const output = (text: string): ExecutorEvent => ({ type: 'tool.output', data: { callId: 'c', text } });
const added: ExecutorEvent = { type: 'message.added', data: { text: 'the end' } };

function pass(...events: readonly ExecutorEvent[]): ExecutorEvent[] {
  const deltas = new DeltaMask(new Mask([secret, 'sk-other-secret']));
  return events.flatMap((event) => [...deltas.pass(event)]);
}

const told = (events: readonly ExecutorEvent[]): string =>
  events.flatMap(({ data }) => ('text' in data && data !== added.data ? [data.text] : [])).join('');

describe('what comes in parts', () => {
  const text = `before ${secret} after`;
  const splits = Array.from({ length: text.length - 1 }, (_, index) => index + 1);

  test.for([
    ['a message', delta],
    ['a tool’s output', output],
  ] as const)(
    '[P6.2] %s hides a secret wherever it is split, in two parts, in three and in single characters',
    ([, part]) => {
      const whole = `before ${stars} after`;
      for (const one of splits) {
        expect(told(pass(part(text.slice(0, one)), part(text.slice(one)), added)), `${one}`).toBe(whole);
        for (const two of splits.filter((each) => each > one)) {
          const parts = [text.slice(0, one), text.slice(one, two), text.slice(two)].map((each) => part(each));
          expect(told(pass(...parts, added)), `${one} ${two}`).toBe(whole);
        }
      }
      expect(told(pass(...Array.from(text, (each) => part(each)), added))).toBe(whole);
    },
  );

  test('[P6.2] shows no part of a secret before it is known to be none', () => {
    for (const length of splits) {
      const shown = told(pass(delta(text.slice(0, length))));
      expect(`before ${stars} after`.startsWith(shown), `${length}: ${shown}`).toBe(true);
    }
  });

  test('[P6.2] hides a secret also when something else is told between its parts', () => {
    const called: ExecutorEvent = { type: 'tool.called', data: { callId: 'c', name: 'Bash', input: {} } };
    for (const one of splits) {
      const [head, tail] = [text.slice(0, one), text.slice(one)];
      expect(told(pass(delta(head), called, delta(tail), added)), `${one}`).toBe(`before ${stars} after`);
      const others = pass(delta(head), output(head), delta(tail, 'm'), output(tail), added);
      expect(
        others
          .filter(({ type }) => type === 'message.delta')
          .map(({ data }) => (data as { text: string }).text)
          .join(''),
      ).toBe(`before ${stars} after`);
    }
    expect(told(pass(delta('sk-söcret-01'), added))).toBe('*'.repeat(12)); // it broke off
  });

  test('is told at once where no secret can begin, and what was held back when its whole is told', () => {
    expect(pass(delta('hello '), delta('sk-'), delta('y'), delta('s'), delta('x', 'n'), output('s'), added)).toEqual([
      delta('hello '),
      delta('sk-y'),
      delta('x', 'n'),
      delta('s'),
      added,
    ]);
    expect(pass(delta(''))).toEqual([delta('')]); // a sign of life
  });
});
