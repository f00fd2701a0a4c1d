import { DaemonError } from '../protocol/errors.ts';
import { encodeTerminalFrame } from '../protocol/binary-frame.ts';
import { TerminalId } from '../protocol/ids.ts';
import type { Result } from '../protocol/methods.ts';
import { journalSize, readJournal } from '../pty-host/journal-reader.ts';
import { journalDirectory } from '../pty-host/terminal-record.ts';
import type { Store } from '../store/store.ts';
import type { ToolRegistry } from '../tooling/registry.ts';
import type { Handlers } from './handlers.ts';
import { ruleHandlers, type Rules } from './rule-handlers.ts';
import type { Source } from './subscriptions.ts';
import { toolHandlers } from './tool-handlers.ts';

interface HandlersOptions extends Rules {
  readonly store: Store;
  readonly registry: ToolRegistry;
  readonly stateDir: string;
  readonly page: { readonly maxEvents: number; readonly maxBytes: number };
  readonly info: () => Result<'daemon.info'>;
  /** Begins to end the daemon, after the answer. */
  readonly stop: (options: { endTurns: boolean }) => void;
}

/** The handler table: what each method does, in terms of the modules that do it. */
export function createHandlers(options: HandlersOptions): Handlers {
  const { store, tasks, stateDir, page, info, stop } = options;
  const checkCursor = (after: number, latest: number): void => {
    if (after > latest)
      throw new DaemonError('cursor_ahead', `there is no event after ${after} yet: the newest is ${latest}`, {
        data: { latest },
      });
  };
  const everything: Source = {
    read: (after) => store.eventsAfter(after, page),
    concerns: () => true,
    positionOf: ({ id }) => id,
  };

  return {
    'daemon.info': info,
    'daemon.stop': ({ endTurns }, { afterReply }) => {
      if (tasks.isClosed && endTurns)
        throw new DaemonError('shutting_down', 'the daemon is stopping already, and lets go of its turns');
      afterReply(() => stop({ endTurns }));
      return { running: endTurns ? 0 : tasks.openCount };
    },
    'task.create': (params) => tasks.create(params),
    'task.prompt': (params) => tasks.prompt(params),
    'task.get': ({ taskId }) => tasks.get(taskId),
    'task.list': (params) => tasks.list(params),
    'task.cancel': async ({ taskId }) => ({ cancelled: await tasks.cancel(taskId) }),
    'task.delete': async ({ taskId }) => {
      await tasks.delete(taskId);
      return { deleted: true };
    },
    'task.subscribe': ({ taskId, after }, { subscriptions, afterReply }) => {
      const latest = tasks.get(taskId).latestSeq;
      checkCursor(after, latest);
      const { name, start } = subscriptions.add(
        {
          read: (seq) => store.taskEventsAfter(taskId, seq, page),
          concerns: (position) => position.taskId === taskId,
          positionOf: ({ seq }) => seq!, // a task's events have one
        },
        after,
      );
      afterReply(start);
      return { subscription: name, latest };
    },
    'event.subscribe': ({ after }, { subscriptions, afterReply }) => {
      const latest = store.latestId;
      checkCursor(after, latest);
      const { name, start } = subscriptions.add(everything, after);
      afterReply(start);
      return { subscription: name, latest };
    },
    'event.unsubscribe': ({ subscription }, { subscriptions }) => {
      subscriptions.remove(subscription);
      return {};
    },
    'terminal.list': async ({ taskId, limit }) => {
      if (taskId !== undefined) tasks.get(taskId);
      const terminals = await Promise.all(
        store.startedTurns(limit, taskId).map(async (turn) => ({
          terminalId: TerminalId.parse(turn.id),
          taskId: turn.taskId,
          bytes: await journalSize(journalDirectory(stateDir, turn.id)),
          running: turn.state !== 'ended',
        })),
      );
      return { terminals };
    },
    'terminal.read': async ({ terminalId, offset, maxBytes }, { sendFrame }) => {
      const turn = store.turn(terminalId);
      if (!turn || turn.startedAt === null || !store.task(turn.taskId))
        throw new DaemonError('terminal_not_found', `no terminal ${terminalId}`);
      const read = await readJournal(journalDirectory(stateDir, terminalId), { from: offset, maxBytes });
      if (read.bytes.length > 0)
        await sendFrame(encodeTerminalFrame({ terminalId, offset: read.offset, bytes: read.bytes }));
      return {
        offset: read.offset,
        bytes: read.bytes.length,
        end: read.end,
        missing: Math.max(0, read.offset - offset),
      };
    },
    ...ruleHandlers(options),
    ...toolHandlers(options.registry),
  };
}
