/** What the provider has to know of the CLIs that ask it: how their tools are called, and which user texts no user wrote. */
import type { Item, ToolCall } from './conversation.ts';
import type { JsonObject } from './script.ts';

interface ShellTool {
  readonly name: string;
  input(command: string): JsonObject | string;
}

const shellTools: readonly ShellTool[] = [
  // Claude Code
  { name: 'Bash', input: (command) => ({ command, description: 'Run a scripted command' }) },
  // codex, and codex with models that write JavaScript
  { name: 'exec_command', input: (cmd) => ({ cmd, yield_time_ms: 30_000 }) },
  { name: 'functions/exec', input: shellScript },
  // gemini
  { name: 'run_shell_command', input: (command) => ({ command, description: 'Run a scripted command' }) },
  // opencode
  { name: 'bash', input: (command) => ({ command }) },
];

/** Tools that answer before the command has ended, and the call that waits on for it. */
const unfinished: readonly { readonly says: RegExp; wait(id: string): ToolCall }[] = [
  {
    says: /^(?:Chunk ID: .*\n)?(?:Wall time: .*\n)?Process running with session ID (\d+)\n/,
    wait: (id) => ({ name: 'write_stdin', input: { session_id: Number(id), chars: '', yield_time_ms: 300_000 } }),
  },
  {
    says: /^Script running with cell ID (\S+)\n/,
    wait: (id) => ({ name: 'functions/wait', input: { cell_id: id, yield_time_ms: 300_000 } }),
  },
];

/** Texts that a CLI puts into the user's mouth, by their beginnings. They are no prompts: the script that runs goes on. */
const synthetic: readonly RegExp[] = [
  // Claude Code
  /^Your response above was cut off/,
  /^Output token limit hit/,
  /^Continue from where you left off/,
  /^\[Request interrupted by user/,
  /^\[Your previous response /,
  /^<(task-notification|local-command-caveat|local-command-stdout|bash-stdout|bash-stderr)>/,
  // codex
  /^<(environment_context|user_instructions|turn_aborted|skill|user_shell_command|subagent_notification|recommended_plugins|goal_context|image_resize_notice)\b/,
  /^# AGENTS\.md instructions/,
  // gemini
  /^<(session_context|hook_context)>/,
  /^(System: )?Please continue\.$/,
  /^System: Potential loop detected/,
  /^Here is (the user's editor context|a summary of changes in the user's editor context)/,
  // opencode
  /^Continue if you have next steps/,
  /^The following tool was executed by the user$/,
  /^Summarize the task tool output above/,
];

export function shellCall(command: string, offered: readonly string[]): ToolCall | undefined {
  const tool = shellTools.find(({ name }) => offered.includes(name));
  return tool && { name: tool.name, input: tool.input(command) };
}

/**
 * The call of a tool under whatever name it is offered. `mcp:server/tool` fits any CLI, as each has its own way to name an MCP
 * server's tools; a name that nothing offered fits is called as it is. Nothing when there is no such MCP tool.
 */
export function toolCall(name: string, input: JsonObject, offered: readonly string[]): ToolCall | undefined {
  if (offered.includes(name)) return { name, input };
  const [, server, tool] = /^mcp:([^/]+)\/(.+)$/.exec(name) ?? [];
  const wanted = server === undefined ? [plain(name)] : [plain(`mcp_${server}_${tool}`), plain(`${server}_${tool}`)];
  const found = offered.find((each) => wanted.includes(plain(each)));
  if (found !== undefined) return { name: found, input };
  if (server === undefined || tool === undefined) return { name, input };
  // codex keeps the tools of MCP servers back from some models, which may call them all the same.
  const namespace = `mcp__${identifier(server)}`;
  if (offered.includes('tool_search')) return { name: `${namespace}/${tool}`, input };
  if (!offered.includes('functions/exec')) return undefined;
  return { name: 'functions/exec', input: mcpScript(`${namespace}__${identifier(tool)}`, input) };
}

/** The calls that wait on for commands which the last tool results say are still running. */
export function waitCalls(items: readonly Item[], offered: readonly string[]): ToolCall[] {
  const lastCall = items.findLastIndex(({ type }) => type === 'call');
  const calls = items.slice(lastCall + 1).flatMap((item) =>
    unfinished.flatMap((tool) => {
      const id = item.type === 'result' ? tool.says.exec(item.text)?.[1] : undefined;
      return id === undefined ? [] : [tool.wait(id)];
    }),
  );
  return calls.filter(({ name }) => offered.includes(name));
}

/** What the user wrote of a user text: nothing of the reminders that CLIs add, and '' when all of it is the CLI's own. */
export function userWords(text: string): string {
  const words = text.replaceAll(/<(system-reminder|hand-over)>[\s\S]*?<\/\1>/g, '').trim();
  return synthetic.some((pattern) => pattern.test(words)) ? '' : words;
}

/** What a command printed, of all that a shell tool says. */
export function shellWords(result: string): string {
  return userWords(result)
    .replace(/^(?:Chunk ID:|Wall time:|Script completed\n)[\s\S]*?\nOutput:\n/, '')
    .replace(/^<untrusted_context>\nOutput: ([\s\S]*?)(?:\nProcess Group PGID: \d+)?\n<\/untrusted_context>$/, '$1')
    .trim();
}

/** A name without what CLIs do to it: only its letters and digits, with one underscore between words. */
function plain(name: string): string {
  return identifier(name).replaceAll(/_+/g, '_');
}

function identifier(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_]/g, '_');
}

function shellScript(command: string): string {
  return [
    `let result = await tools.exec_command(${JSON.stringify({ cmd: command, yield_time_ms: 30_000 })});`,
    'let output = result.output;',
    'while (result.session_id !== undefined) {',
    "  result = await tools.write_stdin({ session_id: result.session_id, chars: '', yield_time_ms: 300000 });",
    '  output += result.output;',
    '}',
    'text(output);',
    'if (result.exit_code) text(`exit code ${result.exit_code}`);',
  ].join('\n');
}

function mcpScript(tool: string, input: JsonObject): string {
  return `const { content } = await tools.${tool}(${JSON.stringify(input)});\nfor (const part of content) text(part.text ?? part);`;
}
