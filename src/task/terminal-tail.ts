import { readTail } from '../pty-host/journal-reader.ts';

const maxBytes = 2_048;
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const controlSequence = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-_])/g;

/** The last words on a terminal, without control sequences: evidence for a person. */
export async function terminalTail(journalDir: string): Promise<string> {
  const bytes = await readTail(journalDir, maxBytes).catch(() => Buffer.alloc(0)); // evidence that is missing must not keep a turn from ending
  const text = bytes.toString('utf8').replace(controlSequence, '');
  return text.replace(/[^\P{Cc}\n]/gu, '').trim();
}
