import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hasFilledCompileCache } from '../base/warm-start.ts';
import { containmentModes } from '../process/containment.ts';
import { closeInherited } from './descriptors.ts';
import { serveHost } from './serve.ts';
import { terminalId } from './protocol.ts';

const usage = 'node src/pty-host/main.ts --state DIR --id ID [--containment auto|cgroup|weak] [--idle-exit-ms 10000]';

/** To standard error, which is the log file. A log that cannot be written must not end the terminals. */
function log(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
  try {
    writeSync(2, `${JSON.stringify({ time: Date.now(), name: 'pty-host', pid: process.pid, event, ...fields })}\n`);
  } catch {
    // the disk is full
  }
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      state: { type: 'string' },
      id: { type: 'string' },
      containment: { type: 'string', default: 'auto' },
      'idle-exit-ms': { type: 'string', default: '10000' },
      'disk-full-ms': { type: 'string', default: '30000' },
      warm: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return null;
  const containment = containmentModes.find((mode) => mode === values.containment);
  const idleExitMs = Number(values['idle-exit-ms']);
  const diskFullMs = Number(values['disk-full-ms']);
  if (
    !values.state ||
    !values.id ||
    !terminalId.test(values.id) ||
    !containment ||
    !(idleExitMs >= 0) ||
    !(diskFullMs >= 0)
  ) {
    throw new Error(`Usage: ${usage}`);
  }
  return {
    stateDir: values.state,
    id: values.id,
    containment,
    idleExitMs,
    journal: { diskFullMs },
    isWarm: values.warm,
  };
}

// A terminal's hang-up, a Ctrl-C meant for the daemon, a daemon that died: none concerns the terminals.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGPIPE'] as const) process.on(signal, () => undefined);

try {
  const options = readOptions();
  if (!options) {
    process.stdout.write(`Usage: ${usage}\n`);
    process.exit(0);
  }
  closeInherited();
  if (!options.isWarm && hasFilledCompileCache()) {
    // The same process begins again; nobody has heard of it yet.
    process.execve?.(
      process.execPath,
      [process.execPath, ...process.execArgv, ...process.argv.slice(1), '--warm'],
      process.env,
    );
  }
  const host = await serveHost({ ...options, log });
  process.on('SIGTERM', () => host.leaveIfIdle());
  // A fault in serving one terminal must not hang up all the others.
  process.on('uncaughtException', (error) => log('fault', { error: error.stack ?? error.message }));
  log('listening', { id: options.id });
  await host.left;
  log('left', { id: options.id });
  process.exit(0);
} catch (error) {
  log('failed', { error: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}
