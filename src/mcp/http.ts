import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';

/** JSON-RPC has no numbers for what goes wrong before a message is read; the SDK uses this one as well. */
const serverError = -32000;

/** What is wrong with a request as a whole, in the shape that MCP clients read. */
export function refuse(
  response: ServerResponse,
  status: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: serverError, message } });
  const length = Buffer.byteLength(body);
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'content-length': length,
      ...headers,
    })
    .end(body);
}

/** The body, or undefined when it is longer than that: the rest is not read. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer<ArrayBuffer> | undefined> {
  if (Number(request.headers['content-length']) > maxBytes) return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The same request as `fetch` has it; `signal` aborts when the client is gone. */
export function fetchRequest(
  { method = 'POST', url = '/', headers }: IncomingMessage,
  body: Buffer<ArrayBuffer>,
  signal: AbortSignal,
): Request {
  const given = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((text): [string, string] => [name, text]),
  );
  return new Request(new URL(url, 'http://localhost'), { method, headers: given, body, signal });
}

/** Sends an answer as its parts come, no faster than the client takes them. */
export async function sendResponse(answer: Response, response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  if (answer.body === null) {
    response.end();
    return;
  }
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!response.write(value)) await once(response, 'drain', { signal });
    }
    response.end();
  } finally {
    await reader.cancel();
  }
}
