/** What CLIs ask of a model for themselves: a title, a summary, which model to take. It gets a fixed answer and moves no script. */
import type { Conversation } from './conversation.ts';
import { fillSchema } from './json.ts';
import { mark, routeIn } from './script.ts';

interface Errand {
  readonly name: string;
  /** By what the model is told to be, or by the beginning of the text that asks. */
  readonly system?: RegExp;
  readonly asks?: RegExp;
  readonly answer: string | ((prompt: string) => string);
}

const noSummary = `${mark} Nothing is summed up: no model was asked.`;
const scriptIsGone = `${mark} The conversation was cut short, and its script with it: it ends here. No model was asked.`;

const errands: readonly Errand[] = [
  // Claude Code
  {
    name: 'summary',
    asks: /^(CRITICAL: Respond with TEXT ONLY\.|Your task is to create a detailed summary)/,
    answer: `<summary>${noSummary}</summary>`,
  },
  // What is left of a conversation after its summary; the prompt, and how far its script was, is gone with the rest.
  { name: 'summarized', asks: /^This session is being continued from a previous conversation/, answer: scriptIsGone },
  { name: 'title', asks: /^<session>/, answer: `{"title":"${mark} scripted"}` },
  // codex
  { name: 'summary', asks: /^You are performing a CONTEXT CHECKPOINT COMPACTION/, answer: noSummary },
  { name: 'summarized', asks: /^Another language model started to solve this problem/, answer: scriptIsGone },
  // gemini
  { name: 'route', system: /^\s*You are a specialized Task Routing AI/, answer: routeAnswer },
  {
    name: 'summary',
    system: /distilling chat history into a structured XML/,
    answer: `<state_snapshot>${noSummary}</state_snapshot>`,
  },
  { name: 'title', asks: /^Summarize the user's primary intent or goal/, answer: `${mark} scripted` },
  {
    name: 'summary',
    asks: /^(Summarize the following tool output|The following output from the tool)/,
    answer: noSummary,
  },
  {
    name: 'fetch',
    asks: /^Follow the user's instructions (to process the authorized URLs|below using the provided webpage)/,
    answer: `${mark} Nothing was fetched: no model was asked.`,
  },
  // opencode
  { name: 'title', system: /^You are a title generator/, answer: `${mark} scripted` },
  { name: 'summary', system: /anchored summary|tasked with summarizing conversations/, answer: noSummary },
];

export interface Done {
  readonly name: string;
  readonly answer: string;
}

/** The answer to an errand, if that is what is asked: one of those known, a search, or anything that is to be JSON. */
export function runErrand({ system = '', schema, tools }: Conversation, prompt: string): Done | undefined {
  const known = errands.find((each) => each.asks?.test(prompt) ?? each.system?.test(system));
  if (known) {
    const { name, answer } = known;
    return { name, answer: typeof answer === 'string' ? answer : answer(prompt) };
  }
  if (tools.length === 1 && tools[0] === 'googleSearch') {
    return { name: 'search', answer: `${mark} Nothing was searched: no model was asked.` };
  }
  if (schema === undefined || tools.length > 0) return undefined;
  return { name: 'json', answer: JSON.stringify(fillSchema(schema, `${mark} scripted`)) };
}

/** gemini asks its newer models' router for a score, of which 90 and more mean the large model, and the older ones' for a name. */
function routeAnswer(prompt: string): string {
  const route = routeIn(prompt);
  const why = `${mark} The script says ${route}.`;
  return JSON.stringify({
    complexity_reasoning: why,
    complexity_score: route === 'pro' ? 100 : 1,
    reasoning: why,
    model_choice: route,
  });
}
