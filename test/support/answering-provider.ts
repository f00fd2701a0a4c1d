import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}
interface Answer {
  readonly status?: number;
  readonly body: string;
}
export type Provider = AsyncDisposable & { readonly url: string };

/** A provider of models that answers whatever it is asked as the test wants: by a stream of events, or an error. */
export async function answeringProvider(answer: (asked: Asked) => Answer): Promise<Provider> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { status = 200, body } = answer({ headers: request.headers, body: Buffer.concat(parts).toString() });
      const type = status === 200 ? 'text/event-stream' : 'application/json';
      response.writeHead(status, { 'content-type': type }).end(body);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.close().closeAllConnections();
      await once(server, 'close');
    },
  };
}
