// `node test/transcripts/write-golden.ts`: writes what the parser makes of each transcript. Read the difference line by line before you keep it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { exits, story } from './claude.ts';

for (const name of Object.keys(exits)) {
  const { events, end } = story(name);
  const lines = events.map((event) => `    ${JSON.stringify(event)}`).join(',\n');
  const text = `{\n  "events": [\n${lines}\n  ],\n  "end": ${JSON.stringify(end)}\n}\n`;
  writeFileSync(join(import.meta.dirname, 'golden', `claude-${name}.json`), text);
}
