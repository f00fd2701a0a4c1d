/** What the provider has to know of the CLIs that ask it: how their shell tool is called, and which user texts no user wrote. */
import type { JsonObject } from './script.ts';

interface ShellTool {
  readonly name: string;
  input(command: string): JsonObject;
}

const shellTools: readonly ShellTool[] = [
  // Claude Code
  { name: 'Bash', input: (command) => ({ command, description: 'Run a scripted command' }) },
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
];

/** Errands of a CLI itself, by the beginning of the text that asks for them, and what is answered. */
const errands: readonly { readonly asks: RegExp; readonly answer: string }[] = [
  // Claude Code: a summary to go on from, when a conversation has become too long
  {
    asks: /^(CRITICAL: Respond with TEXT ONLY\.|Your task is to create a detailed summary)/,
    answer: '<summary>[offline model] Nothing is summed up: no model was asked.</summary>',
  },
  // Claude Code: what is left of a conversation after its summary; the prompt, and how far its script was, is gone with the rest
  {
    asks: /^This session is being continued from a previous conversation/,
    answer: '[offline model] The conversation was cut short, and its script with it: it ends here. No model was asked.',
  },
  // Claude Code: a title for the conversation
  { asks: /^<session>/, answer: '{"title":"[offline model] scripted"}' },
];

export function shellTool(offered: readonly string[]): ShellTool | undefined {
  return shellTools.find(({ name }) => offered.includes(name));
}

/** What the user wrote of a user text: nothing of the reminders that CLIs add, and '' when all of it is the CLI's own. */
export function userWords(text: string): string {
  const words = text.replaceAll(/<system-reminder>[\s\S]*?<\/system-reminder>/g, '').trim();
  return synthetic.some((pattern) => pattern.test(words)) ? '' : words;
}

/** The answer to an errand, if the text asks for one. */
export function runErrand(text: string): string | undefined {
  return errands.find(({ asks }) => asks.test(text))?.answer;
}
