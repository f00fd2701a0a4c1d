import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { eventData } from '../src/protocol/events.ts';
import * as claude from './transcripts/claude.ts';
import * as codex from './transcripts/codex.ts';
import { readGolden } from './transcripts/fold.ts';
import * as gemini from './transcripts/gemini.ts';
import * as opencode from './transcripts/opencode.ts';

/* Lines that were recorded in, events and ending out. `test/transcripts/write-golden.ts` writes what is expected. */

describe.for(Object.entries({ claude, codex, gemini, opencode }))('what %s printed', ([id, { exits, story }]) => {
  test.for(Object.keys(exits))('[P3.1] %s', (name) => {
    const told = story(name);
    expect(told).toEqual(readGolden(id, name));
    for (const { type, data } of told.events) {
      expect(type).not.toBe('executor.unparsed');
      expect(eventData[type].parse(data)).toEqual(data);
    }
  });

  test('is all told here', () => {
    const files = readdirSync(join(import.meta.dirname, 'transcripts'));
    const names = files.flatMap((file) => new RegExp(`^${id}-(.*)\\.jsonl$`).exec(file)?.[1] ?? []);
    expect(new Set(names)).toEqual(new Set(Object.keys(exits)));
  });
});
