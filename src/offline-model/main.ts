/** The offline model's process: `node src/offline-model/main.ts --dir DIR [--port N] [--log FILE] [--idle-exit-ms N]`. */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { answers, presenceVersion, readPresence, startTimeOf, writePresence } from './presence.ts';
import { RequestLog } from './request-log.ts';
import { OfflineModel } from './server.ts';

const checkEveryMs = 1_000;
/** Longer than a turn may last, in which nothing is asked while a tool runs. */
const defaultIdleExitMs = 24 * 3_600_000;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

// Whoever started it may be gone: a closed pipe is no reason to leave.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);
// Started detached, yet perhaps from a terminal that hangs up.
process.on('SIGHUP', () => undefined);
process.on('SIGINT', () => undefined);
const asked = new Promise<void>((resolve) => process.once('SIGTERM', () => resolve()));

function readArguments(): { dir: string; port: number; idleExitMs: number; log?: string } {
  const { values } = parseArgs({
    options: {
      dir: { type: 'string' },
      port: { type: 'string' },
      log: { type: 'string' },
      'idle-exit-ms': { type: 'string' },
    },
  });
  const port = Number(values.port ?? 0);
  if (values.dir === undefined) throw new Error('--dir is missing: the directory for offline-model.json');
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error(`--port must be from 0 to 65535, not ${values.port}`);
  const idleExitMs = Number(values['idle-exit-ms'] ?? defaultIdleExitMs);
  if (!Number.isInteger(idleExitMs) || idleExitMs < 1) throw new Error('--idle-exit-ms must be a whole number above 0');
  return { dir: values.dir, port, idleExitMs, ...(values.log !== undefined && { log: values.log }) };
}

/** Resolves when nobody can find this process any more, its directory gone or leading to another, or nobody has asked for long. */
async function unwanted(dir: string, log: RequestLog, idleExitMs: number): Promise<void> {
  let asked = log.count;
  for (let idleMs = 0; readPresence(dir)?.pid === process.pid && idleMs < idleExitMs; idleMs += checkEveryMs) {
    await delay(checkEveryMs);
    if (log.count !== asked) [asked, idleMs] = [log.count, 0];
  }
}

async function main(): Promise<void> {
  const { dir, port: wanted, idleExitMs, log: logPath } = readArguments();
  const before = readPresence(dir);
  if (before && before.pid !== process.pid && (await answers(before))) {
    say(`offline model: already running at ${before.url} (pid ${before.pid})`);
    return;
  }
  using log = new RequestLog(logPath);
  await using model = new OfflineModel(log);
  const port = await model.listen(wanted || before?.port || 0);
  const url = `http://127.0.0.1:${port}`;
  await writePresence(dir, { pid: process.pid, startTime: startTimeOf('self'), port, url, version: presenceVersion });
  say(`offline model: scripted provider at ${url} (pid ${process.pid})`);
  await Promise.race([asked, unwanted(dir, log, idleExitMs)]);
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`offline model: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
