/**
 * The directives that a prompt may carry, and the steps they make. Pure: text in, script out.
 *
 * A directive is `{{name}}` or `{{name: argument}}`, the name in lower case right after the braces. It ends at the last two
 * braces of the first run of two or more, so that `{{run: echo ${HOME}}}` holds `echo ${HOME}`; the JSON of `tool` and
 * `parallel` is read as JSON, so that it may hold any braces. Text outside directives is ignored.
 */

export type JsonObject = Readonly<Record<string, unknown>>;

/** Every text that is not the script's own begins with it, so that nobody takes it for a model's. */
export const mark = '[offline model]';

/** What makes the provider fail. `once` ones fail the first request of a session that reaches them, and are skipped after it. */
export type Failure =
  | { readonly do: 'status'; readonly status: number; readonly retryAfter?: string; readonly once: boolean }
  | { readonly do: 'drop' | 'hang' | 'stall' | 'cut' | 'early-end'; readonly once: boolean };

export type Call =
  | { readonly do: 'run'; readonly command: string }
  | { readonly do: 'parallel'; readonly commands: readonly string[] }
  | { readonly do: 'tool'; readonly name: string; readonly input: JsonObject };

/** Which of a provider's models a CLI's own router takes. */
export type Route = 'flash' | 'pro';

export type Directive =
  | Call
  | Failure
  | { readonly do: 'say' | 'think'; readonly text: string }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'route'; readonly to: Route }
  | { readonly do: 'flood'; readonly bytes: number }
  | { readonly do: 'usage'; readonly input: number; readonly output: number; readonly cached: number };

/** One model message: everything up to and including the next tool call. Only a script's last step has none. */
export interface Step {
  readonly directives: readonly Directive[];
  readonly calls: number;
}

/** A directive that cannot be followed. The message is meant for the person who wrote it. */
export class ScriptError extends Error {
  override name = 'ScriptError';
}

const maxWaitMs = 3_600_000;
const maxFloodBytes = 256 * 1024 * 1024;

const opening = /\{\{([a-z][a-z-]*)\s*(?=:|\}\})/g;

const readers: Readonly<Record<string, (argument: string) => Directive>> = {
  say: (argument) => ({ do: 'say', text: required(argument, 'the text to say') }),
  think: (argument) => ({ do: 'think', text: required(argument, 'the text to think') }),
  run: (argument) => ({ do: 'run', command: required(argument, 'a shell command') }),
  tool: readTool,
  parallel: readParallel,
  wait: (argument) => ({ do: 'wait', ms: readInteger(argument, 'milliseconds', maxWaitMs) }),
  flood: (argument) => ({ do: 'flood', bytes: readInteger(argument, 'a number of bytes', maxFloodBytes) }),
  usage: readUsage,
  route: readRoute,
  status: readStatus,
  drop: failure('drop'),
  hang: failure('hang'),
  stall: failure('stall'),
  cut: failure('cut'),
  'early-end': failure('early-end'),
};

export function hasDirectives(text: string): boolean {
  return text.search(opening) >= 0;
}

/** The steps of a prompt, none when it has no directives. Throws `ScriptError` for a directive that cannot be followed. */
export function parseScript(text: string): Step[] {
  return toSteps(readDirectives(text));
}

/** Which model the router is to take; the small one when the script does not say, or cannot be followed. */
export function routeIn(text: string): Route {
  return /\{\{route:\s*pro\s*\}\}/.test(text) ? 'pro' : 'flash';
}

/** Directives in groups that end with a tool call, as a model's messages do. */
export function toSteps(directives: readonly Directive[]): Step[] {
  const steps: Step[] = [];
  let group: Directive[] = [];
  for (const directive of directives) {
    group.push(directive);
    const calls = countCalls(directive);
    if (calls > 0) {
      steps.push({ directives: group, calls });
      group = [];
    }
  }
  if (group.length > 0) steps.push({ directives: group, calls: 0 });
  return steps;
}

/** Which step comes next when a conversation already holds so many tool calls; `steps.length` past the end. */
export function stepAfter(steps: readonly Step[], callsMade: number): number {
  let calls = 0;
  for (const [index, step] of steps.entries()) {
    calls += step.calls;
    if (step.calls === 0 || callsMade < calls) return index;
  }
  return steps.length;
}

function countCalls(directive: Directive): number {
  if (directive.do === 'parallel') return directive.commands.length;
  return directive.do === 'run' || directive.do === 'tool' ? 1 : 0;
}

function readDirectives(text: string): Directive[] {
  const directives: Directive[] = [];
  opening.lastIndex = 0;
  let match = opening.exec(text);
  while (match) {
    const name = match[1] ?? '';
    const read = readers[name];
    if (!read) {
      throw new ScriptError(`there is no directive "${name}"; there are ${Object.keys(readers).join(', ')}`);
    }
    const { argument, end } = readArgument(text, opening.lastIndex, name);
    try {
      directives.push(read(argument));
    } catch (error) {
      throw error instanceof ScriptError ? new ScriptError(`{{${name}}}: ${error.message}`) : error;
    }
    opening.lastIndex = end;
    match = opening.exec(text);
  }
  return directives;
}

function readArgument(text: string, start: number, name: string): { argument: string; end: number } {
  const from = text[start] === ':' ? start + 1 : start;
  const search = name === 'tool' || name === 'parallel' ? endOfJson(text, from) : from;
  const close = text.indexOf('}}', search);
  if (close < 0) throw new ScriptError(`{{${name}}}: the closing braces are missing`);
  let end = close + 2;
  while (text[end] === '}') end += 1;
  return { argument: text.slice(from, end - 2).trim(), end };
}

/** Where the first JSON object or array ends, or `from` when none begins before the closing braces. */
function endOfJson(text: string, from: number): number {
  const begin = text.slice(from).search(/[[{]|\}\}/);
  if (begin < 0 || text[from + begin] === '}') return from;
  let depth = 0;
  let quoted = false;
  for (let index = from + begin; index < text.length; index += 1) {
    const character = text[index];
    if (quoted) {
      if (character === '\\') index += 1;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') depth -= 1;
    if (depth === 0) return index + 1;
  }
  return from;
}

function required(argument: string, what: string): string {
  if (argument === '') throw new ScriptError(`it needs ${what}`);
  return argument;
}

function readInteger(argument: string, what: string, max: number): number {
  const value = /^\d+$/.test(argument) ? Number(argument) : Number.NaN;
  if (!(value <= max)) throw new ScriptError(`it needs ${what}, a whole number up to ${max}, not "${argument}"`);
  return value;
}

function readUsage(argument: string): Directive {
  const numbers = argument.split(',').map((part) => readInteger(part.trim(), 'input,output,cached tokens', 1e9));
  const [input, output, cached = 0] = numbers;
  if (input === undefined || output === undefined || numbers.length > 3) {
    throw new ScriptError('it needs input,output or input,output,cached tokens');
  }
  return { do: 'usage', input, output, cached };
}

function readRoute(argument: string): Directive {
  if (argument !== 'flash' && argument !== 'pro') throw new ScriptError(`it needs flash or pro, not "${argument}"`);
  return { do: 'route', to: argument };
}

function readStatus(argument: string): Directive {
  const match = /^(\d+)(?:[\s,]+retry-after[\s=:]+([^\s,]+))?(?:[\s,]+(once))?$/.exec(argument);
  const status = Number(match?.[1]);
  if (!match || status < 400 || status > 599) {
    throw new ScriptError(
      `it needs a status from 400 to 599, then "retry-after N" and "once" if wanted, not "${argument}"`,
    );
  }
  const retryAfter = match[2];
  return { do: 'status', status, ...(retryAfter !== undefined && { retryAfter }), once: match[3] !== undefined };
}

function failure(kind: Exclude<Failure['do'], 'status'>): (argument: string) => Directive {
  return (argument) => {
    if (argument !== '' && argument !== 'once') throw new ScriptError(`it takes nothing, or "once", not "${argument}"`);
    return { do: kind, once: argument === 'once' };
  };
}

function readTool(argument: string): Directive {
  const match = /^(\S+?)\s*(?:([[{].*))?$/s.exec(argument);
  if (!match?.[1]) throw new ScriptError('it needs the name of a tool and its input as a JSON object');
  const input = match[2] === undefined ? {} : readJson(match[2]);
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new ScriptError("the tool's input must be a JSON object");
  }
  return { do: 'tool', name: match[1], input: input as JsonObject };
}

function readParallel(argument: string): Directive {
  const commands = readJson(argument);
  if (!Array.isArray(commands) || commands.length === 0 || !commands.every((item) => typeof item === 'string')) {
    throw new ScriptError('it needs a JSON array of shell commands');
  }
  return { do: 'parallel', commands };
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new ScriptError(`its JSON cannot be read: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}
