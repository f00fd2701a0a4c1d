import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { sha256 } from '../base/hash.ts';
import type { ToolRegistry } from '../tooling/registry.ts';
import { fetchRequest, readBody, refuse, sendResponse } from './http.ts';
import type { McpTurn, serve as Serve } from './serve.ts';

export interface McpDoorOptions {
  readonly registry: ToolRegistry;
  /** The turn that runs with a token of this SHA-256 (in hexadecimal) and is not being ended. */
  readonly turnOf: (tokenHash: string) => McpTurn | undefined;
  readonly version: string;
  readonly maxBytes: number;
  readonly log: Logger;
}

/**
 * `/mcp`: the tools for executors, over MCP's streamable HTTP without sessions. Each request stands for itself and carries
 * its turn's token, so that a restart of the daemon in between is not noticed.
 */
export class McpDoor {
  readonly #options: McpDoorOptions;
  /** The SDK takes 30 MiB: it is loaded when an executor asks. */
  #serve: Promise<typeof Serve> | undefined;
  /** Requests that are being served, by turn and JSON-RPC id: a cancel comes as a request of its own. */
  readonly #inFlight = new Map<string, Set<AbortController>>();

  constructor(options: McpDoorOptions) {
    this.#options = options;
  }

  /** `Host` and `Origin` have been looked at. */
  answer(request: IncomingMessage, response: ServerResponse): void {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    void this.#answer(request, response, gone.signal).catch((error: unknown) => {
      if (gone.signal.aborted) return; // who asked does not wait any more
      this.#options.log.error({ err: error }, 'an MCP request failed');
      if (response.headersSent) response.destroy();
      else refuse(response, 500, 'a fault of the daemon; its log has the cause');
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> {
    const { registry, version, maxBytes, log } = this.#options;
    const turn = this.#turnOf(request.headers.authorization);
    if (!turn) {
      const challenge = { 'www-authenticate': 'Bearer realm="harnessd", error="invalid_token"' };
      return refuse(response, 401, 'no token of a turn that runs', challenge);
    }
    if (request.method !== 'POST') return refuse(response, 405, 'only POST: there are no sessions', { allow: 'POST' });
    const body = await readBody(request, maxBytes);
    if (!body) {
      return refuse(response, 413, `the request is over ${maxBytes} bytes (tools.requestBytes)`, {
        connection: 'close',
      });
    }
    this.#serve ??= import('./serve.ts').then((loaded) => loaded.serve);
    const serve = await this.#serve;
    if (!this.#turnOf(request.headers.authorization)) return refuse(response, 401, 'the turn has ended meanwhile');
    const inFlight = this.#inFlight;
    const answer = await serve(fetchRequest(request, body, signal), {
      registry,
      turn,
      version,
      maxBytes,
      log,
      inFlight,
    });
    await sendResponse(answer, response, signal);
  }

  /** Tokens are compared by their hashes, so that the time it takes tells nothing of one. */
  #turnOf(authorization: string | undefined): McpTurn | undefined {
    const token = /^Bearer (\S+)$/i.exec(authorization ?? '')?.[1];
    return token === undefined ? undefined : this.#options.turnOf(sha256(token));
  }
}
