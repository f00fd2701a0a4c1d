import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, type OptionValues } from 'commander';
import { z } from 'zod';
import { describeOptions, listOptions, otherVariables, type Option } from '../config/options.ts';
import { exitCodes, type Context, type GlobalOptions } from './context.ts';
import { faultOf } from './fault.ts';

const Manifest = z.object({ version: z.string() });

/** Runs the command that the arguments name and gives the process's exit code. Only that command's code is loaded. */
export async function main(context: Context): Promise<number> {
  try {
    let exitCode: number = exitCodes.success;
    const program = createProgram(context, (code) => (exitCode = code));
    await program.parseAsync(context.argv, { from: 'user' });
    return exitCode;
  } catch (error) {
    const { text, exitCode } = faultOf(error);
    context.stderr.write(text);
    return exitCode;
  }
}

/** `end` takes a command's exit code. */
function createProgram(context: Context, end: (exitCode: number) => void): Command {
  const program = new Command('harnessd');
  const command = (usage: string, summary: string, examples: readonly string[]): Command =>
    program
      .command(usage)
      .description(summary)
      .addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ ${line}`).join('\n')}`);
  const globals = (): GlobalOptions => program.opts();

  program
    .description('The daemon of an agent computer, and its command line.')
    .version(versionOf(context))
    .option(
      '--state-dir <path>',
      'state directory of the daemon (HARNESSD_STATE_DIR; default $XDG_STATE_HOME/harnessd)',
    )
    .option(
      '--url <url>',
      'address of the daemon (HARNESSD_URL); its token is in HARNESSD_TOKEN, else in the state directory',
    )
    .addHelpText('after', exitCodeHelp)
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      outputError: () => undefined, // told once, by faultOf
    })
    .showSuggestionAfterError();

  const serve = command('serve', 'run the daemon in this process, until SIGTERM or Ctrl-C; turns run on', [
    'harnessd serve',
    'harnessd serve --listen-port 0 --offline-model auto',
    'HARNESSD_TURN_TIMEOUT_MS=600000 harnessd serve --config /etc/harnessd.json',
  ]).option(
    '--config <file>',
    'configuration file, JSON (HARNESSD_CONFIG; default config.json in the state directory)',
  );
  if (context.argv.includes('serve')) addConfigFlags(serve, asksForHelp(context.argv)); // for nobody else
  serve.action(async (flags: OptionValues) =>
    end(await (await import('./serve.ts')).serve(context, { ...globals(), ...flags })),
  );

  command('run [prompt]', 'give a task to an executor and follow it to its end', [
    'harnessd run "add a test for the parser" --workspace .',
    'harnessd run --task 01J… "now make it pass"',
    'git diff | harnessd run - --json',
  ])
    .option('--executor <id>', 'the coding agent (default: the daemon’s)')
    .option('--model <name>', 'the model (default: the executor’s)')
    .option('--workspace <path>', 'an existing directory to work in (default: a new one)')
    .option('--timeout <duration>', 'wall clock for the turn: 90s, 10m, 2h')
    .option('--task <id>', 'go on with this task')
    .option('--json', 'print one event a line')
    .addHelpText(
      'after',
      '\nThe first Ctrl-C cancels the turn and waits for its end, the second leaves it to the daemon (exit 130).',
    )
    .action(async (prompt: string | undefined, options: OptionValues) =>
      end(await (await import('./run.ts')).run(context, prompt, { ...globals(), ...options })),
    );

  command('tasks', 'list tasks, the newest first', ['harnessd tasks', 'harnessd tasks --json --limit 500'])
    .option('--limit <count>', 'at most so many, up to 500', '20')
    .option('--json', 'print one task a line')
    .action(async (options: { limit: string }) =>
      end(await (await import('./tasks.ts')).tasks(context, { ...globals(), ...options })),
    );

  command('logs <task>', 'print the events of a task', ['harnessd logs 01J…', 'harnessd logs -f 01J… --json'])
    .option('-f, --follow', 'go on with the events to come')
    .option('--json', 'print one event a line')
    .action(async (task: string, options: OptionValues) =>
      end(await (await import('./logs.ts')).logs(context, task, { ...globals(), ...options })),
    );

  command('attach <task>', 'follow the running turn of a task to its end; Ctrl-C leaves it running', [
    'harnessd attach 01J…',
  ])
    .option('--json', 'print one event a line')
    .action(async (task: string, options: OptionValues) =>
      end(await (await import('./logs.ts')).attach(context, task, { ...globals(), ...options })),
    );

  const executors = command('executors', 'list the coding agents, or install one', [
    'harnessd executors list',
    'harnessd executors install claude',
  ]);
  executors
    .command('list')
    .description('what the daemon can run')
    .option('--json', 'print one executor a line')
    .action(async (options: OptionValues) =>
      end(await (await import('./executors.ts')).listExecutors(context, { ...globals(), ...options })),
    );
  executors
    .command('install <id>')
    .description('install the pinned version of a coding agent’s CLI from the npm registry')
    .action(async (id: string) => end(await (await import('./executors.ts')).installExecutor(context, id)));

  command('stop', 'end the daemon and wait until it is gone; turns run on', [
    'harnessd stop',
    'harnessd stop --end-turns',
  ])
    .option('--end-turns', 'end the running turns first')
    .action(async (options: OptionValues) =>
      end(await (await import('./stop.ts')).stop(context, { ...globals(), ...options })),
    );

  command('doctor', 'check this computer, drive each coding agent without a provider, and say what to do', [
    'harnessd doctor',
    'harnessd doctor --executor claude,codex',
    'harnessd doctor --quick --json',
  ])
    .option('--executor <ids>', 'these coding agents only; may be given again (default: all)', gather, [])
    .option('--quick', 'drive none: only look whether they start')
    .option('--json', 'print one check a line')
    .action(async (options: OptionValues) =>
      end(await (await import('./doctor.ts')).doctor(context, { ...globals(), ...options })),
    );

  program
    .command('doctor-end <dir>', { hidden: true })
    .description('wait for the end of standard input, then end and remove what doctor has there')
    .action(async (dir: string) => end(await (await import('./doctor-scratch.ts')).endScratch(context, dir)));

  command(
    'start [prompt]',
    'what `npm start` runs: bring up a daemon if none is, run a first task, stay until Ctrl-C',
    ['harnessd start', 'harnessd start "write a haiku into haiku.txt" --once'],
  )
    .option('--once', 'end after the task, and end the daemon that this command started')
    .option('--executor <id>', 'the coding agent (default: the daemon’s)')
    .option('--model <name>', 'the model (default: the executor’s)')
    .option('--workspace <path>', 'an existing directory to work in (default: a new one)')
    .action(async (prompt: string | undefined, options: OptionValues) =>
      end(await (await import('./start.ts')).start(context, prompt, { ...globals(), ...options })),
    );

  program
    .command('docs', { hidden: true })
    .description('write the pages that are made from the schemas: docs/protocol.md and docs/configuration.md')
    .option('--check', 'write nothing; fail when a page is stale')
    .action(async (options: OptionValues) => end(await (await import('./write-docs.ts')).docs(context, options)));
  return program;
}

function addConfigFlags(serve: Command, isHelp: boolean): void {
  const described = isHelp ? describeOptions() : [];
  for (const { flag } of listOptions()) {
    if (flag === '--state-dir') continue; // that one is global
    const told = described.find((option) => option.flag === flag);
    serve.option(`${flag} <value>`, told && helpOf(told));
  }
  const variables = Object.entries(otherVariables).map(([name, text]) => `  ${name.padEnd(16)} ${text}`);
  serve.addHelpText('after', `\nOther variables:\n${variables.join('\n')}`);
}

const asksForHelp = (argv: readonly string[]): boolean => ['help', '--help', '-h'].some((word) => argv.includes(word));

function helpOf({ type, env, default: value, description }: Option): string {
  return `${description} (${type}; ${env}${value === undefined ? '' : `; default ${value}`})`;
}

const gather = (value: string, before: readonly string[]): readonly string[] => [...before, value];

function versionOf({ productDir }: Context): string {
  return Manifest.parse(JSON.parse(readFileSync(join(productDir, 'package.json'), 'utf8'))).version;
}

const exitCodeHelp = `
Exit codes:
  0    done; for run, attach and start --once: the turn succeeded
  1    failed; for run, attach and start --once: the turn ended in another way
  2    wrong usage or configuration
  3    this Node cannot run the daemon
  130  interrupted; the turn runs on

Examples:
  $ harnessd serve --offline-model auto
  $ harnessd run "create hello.txt" --workspace .
  $ harnessd tasks`;
