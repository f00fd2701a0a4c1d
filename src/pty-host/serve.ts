import { once } from 'node:events';
import { chmod, mkdir, unlink } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/files.ts';
import { findContainment, type ContainmentMode } from '../process/containment.ts';
import { identityOf } from '../process/identity.ts';
import { readBootId } from './boot-id.ts';
import { Connection } from './connection.ts';
import { Descriptors } from './descriptors.ts';
import { hostRecordPath, hostsDirectory, hostSocketPath } from './host-files.ts';
import { Host } from './host.ts';
import type { JournalOptions } from './journal-writer.ts';
import { FORMAT, PROTOCOL, type HostRecord } from './protocol.ts';
import type { TerminalContext } from './terminal.ts';

export interface HostOptions {
  readonly stateDir: string;
  readonly id: string;
  readonly containment: ContainmentMode;
  readonly idleExitMs: number;
  readonly journal: Partial<JournalOptions>;
  readonly log: TerminalContext['log'];
}

export interface RunningHost {
  /** Resolves when the host has left: told to, or idle. */
  readonly left: Promise<void>;
  /** Leaves, unless a terminal lives. */
  leaveIfIdle(): void;
}

/** Opens a host's door; its record is written once it is open. */
export async function serveHost({ stateDir, id, idleExitMs, log, ...options }: HostOptions): Promise<RunningHost> {
  const socketPath = hostSocketPath(stateDir, id);
  const recordPath = hostRecordPath(stateDir, id);
  for (const directory of [hostsDirectory(stateDir), join(stateDir, 'terminals')]) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await chmod(directory, 0o700);
  }
  const containment = await findContainment(options.containment);
  const bootId = await readBootId();
  const host = new Host({
    stateDir,
    hostId: id,
    bootId,
    containment,
    descriptors: new Descriptors(),
    journal: options.journal,
    log,
  });
  const identity = { pid: process.pid, startTime: identityOf(process.pid)?.startTime ?? '' };
  const versions = { protocol: PROTOCOL, format: FORMAT, containment: containment.level };

  const connections = new Map<Connection, Socket>();
  const left = Promise.withResolvers<void>();
  let idle: NodeJS.Timeout | undefined;
  const leave = async (): Promise<void> => {
    host.onChange = () => undefined;
    host.leave(); // a request that is still on its way is refused rather than lost
    server.close();
    // The record first: a host without one has left in order, one that died still has it.
    for (const path of [recordPath, socketPath]) await unlink(path).catch(() => undefined);
    for (const socket of connections.values()) socket.destroySoon();
    left.resolve();
  };
  const watchIdle = (): void => {
    clearTimeout(idle);
    if (host.liveCount > 0) return;
    if (host.isLeaving) void leave();
    else if (connections.size === 0) idle = setTimeout(() => void leave(), idleExitMs);
  };
  const server = createServer((socket) => {
    const connection = new Connection(socket, host, { hostId: id, ...identity, ...versions });
    connections.set(connection, socket);
    watchIdle();
    socket.on('error', () => undefined); // a lost daemon; `close` follows
    socket.on('close', () => {
      connections.delete(connection);
      watchIdle();
    });
    void connection.serve(); // never rejects
  });
  host.onChange = watchIdle;
  host.onExited = (status) => {
    for (const connection of connections.keys()) connection.notify({ method: 'exited', params: status });
  };

  server.listen(socketPath);
  await once(server, 'listening');
  await chmod(socketPath, 0o600); // until now its private directory kept it
  const record: HostRecord = { id, bootId, ...identity, ...versions, startedAt: Date.now() };
  await writeFileAtomic(recordPath, JSON.stringify(record));
  watchIdle();
  return {
    left: left.promise,
    leaveIfIdle: () => {
      if (host.liveCount === 0) host.leave();
    },
  };
}
