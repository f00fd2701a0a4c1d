import { readFile } from 'node:fs/promises';

/** Names the machine's boot: a pid, a start time or a monotonic time says nothing after the next one. Empty where unknown. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
}
