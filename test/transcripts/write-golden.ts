// `node test/transcripts/write-golden.ts claude`: writes what the parser makes of each transcript. Read the difference line by line before you keep it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { executors } from '../../executors/index.ts';
import type { Exit } from '../../src/kit/executor.ts';
import { foldTranscript } from './fold.ts';

const executor = executors.find(({ id }) => id === process.argv[2])!;
const { exits } = (await import(`./${executor.id}.ts`)) as { exits: Readonly<Record<string, Exit>> };
for (const [name, exit] of Object.entries(exits)) {
  const { events, end } = foldTranscript({ ...executor, parser: await executor.parser() }, name, exit);
  const lines = events.map((event) => `    ${JSON.stringify(event)}`).join(',\n');
  const text = `{\n  "events": [\n${lines}\n  ],\n  "end": ${JSON.stringify(end)}\n}\n`;
  writeFileSync(join(import.meta.dirname, 'golden', `${executor.id}-${name}.json`), text);
}
