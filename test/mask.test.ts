import { describe, expect, test } from 'vitest';
import * as fc from 'fast-check';
import { Mask, StreamMask } from '../src/base/mask.ts';

const secret = 'sk-ant-oat01/ä"b c+d\\e=';
const mask = new Mask([secret, 'short', 'abababab', 'ababcdefgh', 'cdefghij']);
const bytes = (text: string): Buffer => Buffer.from(text);

describe('a mask', () => {
  test('hides a secret as it is and as it is usually escaped, length for length', () => {
    const forms = [
      secret,
      encodeURIComponent(secret),
      encodeURIComponent(secret).replace(/%[0-9A-F]{2}/g, (hex) => hex.toLowerCase()),
      new URLSearchParams({ q: secret }).toString().slice(2),
      JSON.stringify(secret).slice(1, -1),
      JSON.stringify(secret).slice(1, -1).replaceAll('/', '\\/'),
      JSON.stringify(secret).slice(1, -1).replace('ä', '\\u00e4'),
    ];
    for (const form of forms) {
      expect(mask.text(`<${form}>`)).toBe(`<${'*'.repeat(form.length)}>`);
      expect(mask.bytes(bytes(`<${form}>`)).toString()).toBe(`<${'*'.repeat(Buffer.byteLength(form))}>`);
    }
  });

  test('hides it in base64 at every alignment, but for a character that it shares with its neighbours', () => {
    for (const before of ['', 'x', 'xy', 'xyz']) {
      for (const encoding of ['base64', 'base64url'] as const) {
        const encoded = bytes(`${before}${secret}tail`).toString(encoding);
        const masked = mask.text(encoded);
        expect(masked).toHaveLength(encoded.length);
        expect(masked.match(/\*+/)?.[0].length).toBeGreaterThanOrEqual(
          Math.floor((Buffer.byteLength(secret) * 8) / 6) - 1,
        );
      }
    }
  });

  test('hides all of what overlaps, and leaves short values and everything else', () => {
    expect(mask.text('_ababababab_')).toBe('_**********_');
    expect(mask.text('_abababcdefghij_short')).toBe('_ab************_short');
    expect(mask.bytes(bytes('_abababcdefghij_')).toString()).toBe('_ab************_');
    const untouched = bytes('nothing here');
    expect(mask.bytes(untouched)).toBe(untouched);
    expect(new Mask(['\ud800 lone surrogate']).text('fine')).toBe('fine');
  });

  test('goes through the keys and strings of JSON, however deep', () => {
    const value = { [secret]: [secret, 1, null, true, { nested: `x${secret}` }], __proto__: null };
    const stars = '*'.repeat(secret.length);
    expect(mask.deep(value)).toEqual({ [stars]: [stars, 1, null, true, { nested: `x${stars}` }] });
    let deep: unknown[] = [];
    for (let depth = 0; depth < 100_000; depth++) deep = [deep];
    expect(() => mask.deep(deep as never)).not.toThrow();
  });
});

describe('a stream', () => {
  const text = `before ${secret} between ${secret}${secret} ababababab abababcdefghij ${bytes(secret).toString('base64')} after`;
  const whole = mask.bytes(bytes(text)).toString();

  test('[P6.3] is masked the same wherever its writes are cut', () => {
    const input = bytes(text);
    for (let first = 0; first <= input.length; first++) {
      for (const second of [first, first + 1, first + 7]) {
        const stream = new StreamMask(mask);
        const parts = [input.subarray(0, first), input.subarray(first, second), input.subarray(second)];
        const output = Buffer.concat([...parts.map((part) => stream.push(part)), stream.flush()]);
        expect(output.toString()).toBe(whole);
      }
    }
    const stream = new StreamMask(mask);
    const single = Array.from(input, (byte) => stream.push(Buffer.from([byte])));
    expect(Buffer.concat([...single, stream.flush()]).toString()).toBe(whole);
  });

  test('[P6.3] is masked the same for any secrets, text and cuts', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 8, maxLength: 11 });
    const property = fc.property(
      fc.array(word, { minLength: 1, maxLength: 3 }),
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 12 })),
      (secrets, chunks) => {
        const any = new Mask(secrets);
        const stream = new StreamMask(any);
        const output = Buffer.concat([...chunks.map((chunk) => stream.push(bytes(chunk))), stream.flush()]);
        expect(output.toString()).toBe(any.bytes(bytes(chunks.join(''))).toString());
        expect(any.text(chunks.join(''))).toBe(output.toString());
      },
    );
    fc.assert(property, { numRuns: 2000 });
  });

  test('holds back only what could begin a secret, and gives it up when asked', () => {
    const stream = new StreamMask(mask);
    expect(stream.push(bytes('prompt> sk-a')).toString()).toBe('prompt> ');
    expect(stream.held).toBe(4);
    expect(stream.flush().toString()).toBe('sk-a');
    expect(stream.push(bytes('nt')).toString()).toBe('nt');
    expect(stream.held).toBe(0);
  });
});
