/*
 * Loaded by OpenCode into its own process (`plugin` in the configuration that `opencode.ts` writes): tells on its standard
 * output what `opencode run --format json` keeps to itself, and leaves no trace of the CLI's private folders in its children.
 */

interface Options {
  fetch?: (...request: Parameters<typeof fetch>) => Promise<Response>;
}
interface ToolPart {
  readonly type: 'tool';
  readonly sessionID: string;
  readonly tool: string;
  readonly callID: string;
  readonly state: { readonly status: string; readonly input: unknown };
}
interface StepPart {
  readonly type: 'step-finish';
  readonly sessionID: string;
  readonly tokens: object;
  readonly cost: number;
}
type Happening =
  | { readonly type: 'session.created'; readonly properties: { readonly info: { id: string; parentID?: string } } }
  | { readonly type: 'message.part.updated'; readonly properties: { readonly part: ToolPart | StepPart } }
  | {
      readonly type: 'session.status';
      readonly properties: {
        readonly sessionID: string;
        readonly status: { type: string; attempt: number; message: string; next: number };
      };
    };

const { env, stdout } = process; // OpenCode's
/** The CLI tells of a call when it has ended, and only then in its order: one that ends soon is left to it. */
const quickMs = 500;

function say(line: { readonly type: string; readonly sessionID: string; readonly [field: string]: unknown }): void {
  stdout.write(`${JSON.stringify(line)}\n`);
}

export default async function watch(): Promise<object> {
  for (const name of Object.keys(env)) if (name.startsWith('XDG_')) delete env[name]; // it has read them; git and other tools are to use the computer's own
  const calls = new Map<string, NodeJS.Timeout>();
  const agents = new Set<string>(); // sessions of sub-agents, of which the CLI tells nothing
  let answered: number | undefined;

  const onTool = ({ sessionID, tool, callID, state: { status, input } }: ToolPart): void => {
    if (status === 'running' && !calls.has(callID) && !agents.has(sessionID)) {
      const tell = (): void => say({ type: 'harnessd.tool', sessionID, tool, callID, input });
      calls.set(callID, setTimeout(tell, quickMs));
    } else if (status === 'completed' || status === 'error') {
      clearTimeout(calls.get(callID));
      calls.delete(callID);
    }
  };

  const onStep = ({ sessionID, tokens, cost }: StepPart): void => {
    if (agents.has(sessionID)) say({ type: 'harnessd.step', sessionID, part: { tokens, cost } });
  };

  return {
    config: ({ provider }: { provider: Record<string, { options: Options }> }) => {
      provider['harnessd']!.options.fetch = async (...request) => {
        answered = undefined;
        const response = await fetch(...request);
        answered = response.status;
        return response;
      };
    },
    event: ({ event }: { event: Happening }) => {
      if (event.type === 'session.created') {
        const { id, parentID } = event.properties.info;
        if (parentID === undefined) say({ type: 'harnessd.session', sessionID: id });
        else agents.add(id);
      } else if (event.type === 'message.part.updated') {
        const { part } = event.properties;
        if (part.type === 'tool') onTool(part);
        else if (part.type === 'step-finish') onStep(part);
      } else if (event.type === 'session.status' && event.properties.status.type === 'retry') {
        const { sessionID, status } = event.properties;
        const { attempt, message, next } = status;
        say({ type: 'harnessd.retry', sessionID, attempt, message, delayMs: Math.max(0, next - Date.now()), answered });
      }
    },
  };
}
