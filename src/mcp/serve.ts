import {
  createMcpHandler,
  ProtocolError,
  ProtocolErrorCode,
  Server,
  type CallToolResult,
  type ServerContext,
} from '@modelcontextprotocol/server';
import type { Logger } from 'pino';
import { z } from 'zod';
import { DaemonError } from '../protocol/errors.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { ToolRegistry } from '../tooling/registry.ts';

export interface McpTurn {
  readonly id: TurnId;
  readonly taskId: TaskId;
}

export interface ServeOptions {
  readonly registry: ToolRegistry;
  readonly turn: McpTurn;
  readonly version: string;
  readonly maxBytes: number;
  readonly log: Logger;
  readonly inFlight: Map<string, Set<AbortController>>;
}

const instructions =
  'Tools of this computer, the same for every coding agent. computer_info says what the computer is and offers.';

/** The executor's own id of a call, where it tells it. */
const OwnCallId = z.object({ 'claudecode/toolUseId': z.string().max(256) });

/** Serves one HTTP request. */
export function serve(request: Request, options: ServeOptions): Promise<Response> {
  return createMcpHandler(() => createServer(options), { maxRequestBodySize: options.maxBytes }).fetch(request);
}

function createServer({ registry, turn, version, log, inFlight }: ServeOptions): Server {
  const server = new Server({ name: 'harnessd', version }, { capabilities: { tools: {} }, instructions });
  const keyOf = (id: string | number | undefined): string => `${turn.id} ${JSON.stringify(id)}`;

  server.setRequestHandler('tools/list', () => ({
    tools: registry.list().map(({ name, summary, effect, inputSchema, outputSchema }) => ({
      name,
      description: summary,
      inputSchema: { ...inputSchema, type: 'object' as const },
      outputSchema: { ...outputSchema, type: 'object' as const },
      annotations: { readOnlyHint: effect === 'read', openWorldHint: false },
    })),
  }));

  server.setRequestHandler('tools/call', async ({ params: { name, arguments: input = {} } }, { mcpReq }) => {
    const cancelled = new AbortController();
    const key = keyOf(mcpReq.id);
    const ofKey = inFlight.get(key) ?? new Set();
    inFlight.set(key, ofKey.add(cancelled));
    const progress = new Progress(mcpReq);
    const own = OwnCallId.safeParse(mcpReq._meta);
    try {
      const { output, content } = await registry.call({
        name,
        input,
        caller: { kind: 'turn', taskId: turn.taskId, turnId: turn.id },
        via: 'mcp',
        signal: AbortSignal.any([cancelled.signal, mcpReq.signal]),
        onProgress: (text) => progress.tell(text),
        ...(own.success && { parentCallId: own.data['claudecode/toolUseId'] }),
      });
      return { content: [...content], structuredContent: { ...output } };
    } catch (error) {
      return failure(error, log);
    } finally {
      await progress.told;
      ofKey.delete(cancelled);
      if (ofKey.size === 0) inFlight.delete(key);
    }
  });

  /** Two clients of one turn may count alike: then it is not known which of their requests is meant. */
  server.setNotificationHandler('notifications/cancelled', ({ params: { requestId } }) => {
    const meant = inFlight.get(keyOf(requestId));
    if (meant?.size === 1) for (const cancelled of meant) cancelled.abort();
  });
  return server;
}

/** Told in order, each once the one before is on its way. */
class Progress {
  readonly #request: ServerContext['mcpReq'];
  #count = 0;
  told: Promise<void> = Promise.resolve();

  constructor(request: ServerContext['mcpReq']) {
    this.#request = request;
  }

  tell(message: string): void {
    const progressToken = this.#request._meta?.progressToken;
    if (progressToken === undefined) return;
    const params = { progressToken, progress: (this.#count += 1), message };
    this.told = this.told
      .then(() => this.#request.notify({ method: 'notifications/progress', params }))
      .catch(() => undefined); // who asked is gone
  }
}

/** What a model can do something about is the call's result; that there is no such tool is its client's concern. */
function failure(error: unknown, log: Logger): CallToolResult {
  const { code, message } =
    error instanceof DaemonError
      ? error
      : new DaemonError('internal', 'a fault of the daemon; its log has the cause', { cause: error });
  if (code === 'tool_not_found') throw new ProtocolError(ProtocolErrorCode.InvalidParams, message);
  if (code === 'internal') log.error({ err: error }, 'a tool call failed by a fault of ours');
  return { isError: true, content: [{ type: 'text', text: `${code}: ${message}` }] };
}
