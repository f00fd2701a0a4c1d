import { CommanderError } from 'commander';
import { InstallError } from '../install/npm.ts';
import { DaemonError, type ErrorCode } from '../protocol/errors.ts';
import { exitCodes, UsageError } from './context.ts';

export interface Fault {
  /** For standard error; empty when there is nothing to say. */
  readonly text: string;
  readonly exitCode: number;
}

/** What to do about an error, beside what its own message says. */
const advice: Partial<Record<ErrorCode, string>> = {
  executor_unavailable: 'install it with "harnessd executors install claude"',
  credentials_required: 'set ANTHROPIC_API_KEY for the daemon, or start it with --offline-model auto',
  runtime_unsuitable: 'run "npm run setup", which brings a Node that does, and start harnessd with runtime/harnessd',
  storage_full: 'free space on the disk of the state directory',
  task_not_found: '"harnessd tasks" lists them',
  internal: 'the daemon’s log has the cause',
};

/** Something thrown, in words for a person, and the exit code. A stack is for what nobody expected. */
export function faultOf(error: unknown): Fault {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return { text: '', exitCode: exitCodes.success }; // --help and --version
    return usage(error.message.replace(/^error: /, '').replace(/\n\(Did (.*)\)$/, '; did $1'));
  }
  if (error instanceof UsageError) return usage(error.message);
  if (error instanceof InstallError) return { text: `harnessd: ${error.message}\n`, exitCode: exitCodes.failure };
  if (error instanceof DaemonError) return told(error);
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `harnessd: a fault of harnessd itself: ${detail}\n`, exitCode: exitCodes.failure };
}

function usage(message: string): Fault {
  const text = message === '(outputHelp)' ? '' : `harnessd: ${message}\n          see "harnessd --help"\n`;
  return { text, exitCode: exitCodes.usage };
}

function told({ code, message }: DaemonError): Fault {
  const hint = advice[code];
  const text = `harnessd: ${message}\n${hint ? `          ${hint}\n` : ''}`;
  if (code === 'runtime_unsuitable') return { text, exitCode: exitCodes.runtime };
  const isUsage = code === 'config_invalid' || code === 'invalid_params';
  return { text, exitCode: isUsage ? exitCodes.usage : exitCodes.failure };
}
