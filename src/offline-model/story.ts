/**
 * What the scripted model answers. Where a script stands is counted from the tool calls that the request's own history holds
 * since the prompt, so that a repeated request gets the same answer, from a restarted process too. Only `once` needs memory.
 */
import { shellCall, shellWords, toolCall, userWords, waitCalls } from './clis.ts';
import type { Answer, Conversation, Item, Piece, ToolCall, Usage } from './conversation.ts';
import { runErrand } from './errands.ts';
import { ScriptError, hasDirectives, mark, parseScript, stepAfter, toSteps } from './script.ts';
import type { Directive, Failure, JsonObject, Step } from './script.ts';

const disclaimer = 'This is a scripted provider: no model was asked.';

export interface Told {
  readonly answer: Answer;
  /** `waiting` asks a tool again that has not come to its end; the script stays where it is. */
  readonly story: 'script' | 'default' | 'malformed' | 'errand' | 'waiting';
  /** Which errand it is. */
  readonly errand?: string;
  /** Which step of how many was answered, from 1; one more than there are when the script was at its end. */
  readonly step: number;
  readonly steps: number;
}

/** Says whether a key is new, and remembers it. */
export type IsFirst = (key: string) => boolean;

interface Prompt {
  readonly text: string;
  /** 1 for the first prompt of the conversation. */
  readonly ordinal: number;
  /** What came after it. */
  readonly after: readonly Item[];
}

export function tell(conversation: Conversation, isFirst: IsFirst): Told {
  const prompt = findPrompt(conversation.items);
  const errand = runErrand(conversation, prompt.text);
  if (errand !== undefined) return { ...aside('errand', says(errand.answer), conversation), errand: errand.name };
  const waits = waitCalls(prompt.after, conversation.tools);
  if (waits.length > 0) return aside('waiting', waits.map(asPiece), conversation);
  let steps: Step[];
  try {
    steps = hasDirectives(prompt.text) ? parseScript(prompt.text) : defaultStory(conversation, prompt);
    const index = stepAfter(steps, prompt.after.filter(isScripted).length);
    const key = JSON.stringify([sessionOf(conversation), prompt.ordinal, prompt.text, index]);
    return {
      answer: compose(steps[index]?.directives ?? [], conversation, (at) => isFirst(`${key}:${at}`)),
      story: hasDirectives(prompt.text) ? 'script' : 'default',
      step: index + 1,
      steps: steps.length,
    };
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    const complaint = `${mark} I cannot follow the script in this prompt: ${error.message}. ${disclaimer}`;
    return aside('malformed', says(complaint), conversation);
  }
}

/** Ids of calls that the story makes beside the script begin with it. */
export const waitingPrefix = 'waiting_';

function isScripted(item: Item): boolean {
  return item.type === 'call' && !(item.id?.includes(waitingPrefix) ?? false);
}

/** A conversation without an id is told by how it began. */
function sessionOf({ session, items }: Conversation): string {
  const first = items.find(({ type }) => type === 'text');
  return session ?? (first?.type === 'text' ? first.text : '');
}

/** The last text that a user wrote. Each text block counts by itself: CLIs join a prompt that failed and the next into one message. */
function findPrompt(items: readonly Item[]): Prompt {
  let prompt: Prompt = { text: '', ordinal: 0, after: items };
  for (const [index, item] of items.entries()) {
    const text = item.type === 'text' && item.role === 'user' ? userWords(item.text) : '';
    if (text !== '') prompt = { text, ordinal: prompt.ordinal + 1, after: items.slice(index + 1) };
  }
  return prompt;
}

/** The answer to a prompt without directives: one file is written with the shell tool, then its content is told. */
function defaultStory({ tools }: Conversation, { ordinal, after }: Prompt): Step[] {
  if (!shellCall('true', tools))
    return toSteps([{ do: 'say', text: `${mark} ${disclaimer} No shell tool is offered, so I do nothing.` }]);
  const command =
    ordinal > 1
      ? 'echo "hello again from harnessd" >> hello.txt && cat hello.txt'
      : 'echo "hello from harnessd" > hello.txt && cat hello.txt';
  const result = after.findLast((item) => item.type === 'result');
  const output = shellWords(result?.text ?? '').slice(0, 200);
  const outcome = result?.isError ? 'The command failed' : 'hello.txt is written';
  return toSteps([
    { do: 'say', text: `${mark} ${disclaimer} I will write hello.txt with the shell tool.` },
    { do: 'run', command },
    {
      do: 'say',
      text: `${mark} ${outcome}; the shell answered: ${output}\n${disclaimer}`,
    },
  ]);
}

function compose(
  directives: readonly Directive[],
  conversation: Conversation,
  isFirst: (at: number) => boolean,
): Answer {
  const pieces: Piece[] = [];
  let usage: Usage | undefined;
  for (const [at, directive] of directives.entries()) {
    if (directive.do === 'usage') usage = directive;
    else if (!isFailure(directive)) pieces.push(...toPieces(directive, conversation.tools));
    else if (!directive.once || isFirst(at)) return fail(directive, pieces, conversation, usage);
  }
  if (!pieces.some(({ type }) => type !== 'wait' && type !== 'thinking')) {
    pieces.push({ type: 'text', text: `${mark} The script is at its end. ${disclaimer}` });
  }
  return { type: 'reply', pieces, usage: usage ?? estimate(pieces, conversation), ending: 'finish' };
}

function fail(
  failure: Failure,
  pieces: readonly Piece[],
  conversation: Conversation,
  usage: Usage | undefined,
): Answer {
  const afterMs = pieces.reduce((sum, piece) => sum + (piece.type === 'wait' ? piece.ms : 0), 0);
  switch (failure.do) {
    case 'status':
      return {
        type: 'status',
        afterMs,
        status: failure.status,
        ...(failure.retryAfter && { retryAfter: failure.retryAfter }),
      };
    case 'drop':
    case 'hang':
      return { type: failure.do, afterMs };
    default: {
      // What the script says before the failure is said to its end; with nothing said, the break is in the middle of a text.
      const begun = pieces.some(({ type }) => type === 'text' || type === 'flood');
      const text: Piece = { type: 'text', text: `${mark} This answer is scripted to break off here`, open: true };
      const all = begun ? pieces : [...pieces, text];
      return { type: 'reply', pieces: all, usage: usage ?? estimate(all, conversation), ending: failure.do };
    }
  }
}

function isFailure(directive: Directive): directive is Failure {
  return 'once' in directive;
}

function toPieces(directive: Exclude<Directive, Failure | { do: 'usage' }>, tools: readonly string[]): Piece[] {
  switch (directive.do) {
    case 'say':
      return [{ type: 'text', text: directive.text }];
    case 'think':
      return [{ type: 'thinking', text: directive.text }];
    case 'wait':
      return [{ type: 'wait', ms: directive.ms }];
    case 'flood':
      return [{ type: 'flood', bytes: directive.bytes }];
    case 'tool':
      return [asPiece(offeredTool(directive.name, directive.input, tools))];
    case 'run':
      return [asPiece(offeredShell(directive.command, tools))];
    case 'parallel':
      return directive.commands.map((command) => asPiece(offeredShell(command, tools)));
    case 'route':
      return [];
  }
}

function offeredTool(name: string, input: JsonObject, tools: readonly string[]): ToolCall {
  const call = toolCall(name, input, tools);
  if (!call) throw new ScriptError(`it calls ${name}, which ${notOffered(tools)}`);
  return call;
}

function offeredShell(command: string, tools: readonly string[]): ToolCall {
  const call = shellCall(command, tools);
  if (!call) throw new ScriptError(`it runs a shell command, but a shell tool ${notOffered(tools)}`);
  return call;
}

function notOffered(tools: readonly string[]): string {
  return `is not among the tools offered (${tools.join(', ') || 'none'})`;
}

function asPiece(call: ToolCall): Piece {
  return { type: 'call', ...call };
}

function says(text: string): Piece[] {
  return [{ type: 'text', text }];
}

function estimate(pieces: readonly Piece[], { inputTokens }: Conversation): Usage {
  const lengths = pieces.map((piece) => {
    if (piece.type === 'call') return JSON.stringify(piece.input).length;
    if (piece.type === 'flood') return piece.bytes;
    return piece.type === 'wait' ? 0 : piece.text.length;
  });
  return { input: inputTokens, output: Math.ceil(lengths.reduce((sum, length) => sum + length, 0) / 4), cached: 0 };
}

function aside(story: Told['story'], pieces: readonly Piece[], conversation: Conversation): Told {
  return {
    answer: { type: 'reply', pieces, usage: estimate(pieces, conversation), ending: 'finish' },
    story,
    step: 1,
    steps: 1,
  };
}
