import { Worker } from 'node:worker_threads';
import { compileCacheEnv } from '../base/warm-start.ts';

/** The writer's thread, which loads its code by itself and waits to be told which database it is for. */
export interface WriterThread {
  readonly worker: Worker;
  /** Settles when its database is open, or it failed before that. */
  readonly ready: Promise<void>;
}

/** Loading takes as long as that of the rest of the daemon: who starts it first has it when it is needed. */
export function startWriterThread(): WriterThread {
  const worker = new Worker(new URL('./writer-worker.ts', import.meta.url), { env: compileCacheEnv(), stdin: false }); // without the cache it loads what strips types, 40 MiB and 50 ms
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  worker.once('message', () => resolve()); // its first says that the database is open
  worker.once('error', reject);
  ready.catch(() => undefined); // told to whoever awaits it
  return { worker, ready };
}
