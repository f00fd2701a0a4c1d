import type { StoredEvent } from '../../src/protocol/events.ts';
import type { BenchDaemon } from './bench-daemon.ts';

/** Runs one turn to its end: when it was sent (ms since the epoch), and its events. */
export async function runTurn(daemon: BenchDaemon): Promise<{ sentAt: number; events: StoredEvent[] }> {
  await using client = await daemon.client();
  const sentAt = performance.timeOrigin + performance.now();
  const { taskId } = await client.call('task.create', { prompt: 'say when' });
  const events: StoredEvent[] = [];
  const enough = new AbortController();
  for await (const event of client.events({ taskId, signal: enough.signal })) {
    events.push(event);
    if (event.type === 'turn.ended') break;
  }
  enough.abort();
  if (events.at(-1)!.data['outcome'] !== 'succeeded') throw new Error(JSON.stringify(events.at(-1)));
  return { sentAt, events };
}
