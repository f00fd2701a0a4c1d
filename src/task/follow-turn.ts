import { readFile } from 'node:fs/promises';
import { Mask } from '../base/mask.ts';
import type { Executor } from '../kit/executor.ts';
import type { Ending, Evidence, StopCause } from '../protocol/events.ts';
import { journalSize } from '../pty-host/journal-reader.ts';
import { journalDirectory } from '../pty-host/terminal-record.ts';
import { CaptureReader, watchGrowth, type CaptureLine } from './capture.ts';
import { decideEnding, type TurnExit } from './ending.ts';
import { ExitWatch } from './exit-watch.ts';
import { markerName } from './launch.ts';
import type { TurnFiles } from './layout.ts';
import { Parse } from './parse.ts';
import { terminalTail } from './terminal-tail.ts';
import type { TurnRecord } from './turn-record.ts';
import type { TurnServices } from './turn-services.ts';
import { Watchdog } from './watchdog.ts';

export interface FollowOptions {
  readonly services: TurnServices;
  readonly record: TurnRecord;
  readonly files: TurnFiles;
  readonly definition: Executor;
  /** Why the turn is being ended, once it is. */
  readonly stopCause: () => StopCause | null;
  /** Begins to end the turn, or asks for it again. */
  readonly stop: (cause: StopCause) => Promise<void>;
  /** Aborted when the daemon lets go of the turn. */
  readonly signal: AbortSignal;
}

/** Reads what a launched turn says, records it, enforces its limits, and resolves with its ending when it has exited. */
export async function followTurn(options: FollowOptions): Promise<{ ending: Ending; evidence: Evidence }> {
  const { services, record, files, definition, stopCause, stop, signal } = options;
  const { hosts, layout, limits, clock, log, onStep } = services;
  const { id, hostId, captureOffset, deadlineAt, activeAt } = record.row;
  const onFault = (error: unknown): void => log.error({ err: error, turnId: id }, 'a turn could not be watched');
  let wake = Promise.withResolvers<void>();
  const onChange = (): void => wake.resolve();
  signal.addEventListener('abort', onChange, { once: true });

  const { stateDir } = layout;
  const { graceMs, lineBytes: maxLineBytes } = limits;
  using watch = await ExitWatch.open({ hosts, stateDir, terminalId: id, hostId, graceMs, onExit: onChange, onFault });
  const secrets = JSON.parse(await readFile(files.secrets, 'utf8')) as string[]; // written by prepareLaunch
  const others = [...services.secrets, ...services.credentials.all].map((secret) => secret.open());
  const parse = new Parse(await definition.parser(), {
    mask: new Mask([...secrets, ...others]),
    seamMask: new Mask(secrets),
    usageCounts: definition.usageCounts,
    told: services.store.usageBefore(record.row),
  });
  await parse.refold(files.capture, { upTo: captureOffset, maxLineBytes });
  await using reader = await CaptureReader.open(files.capture, { offset: captureOffset, maxLineBytes });
  using _growth = watchGrowth(files.capture, onChange);
  using watchdog = new Watchdog({
    clock,
    limits,
    deadlineAt: deadlineAt!, // recorded at the launch
    activeAt: activeAt!,
    stopCause,
    isBusy: async () => parse.hasOpenCall || services.calls.hasOpenCall(id) || hasLiveChildren(services, id),
    captureSize: async () => {
      await record.lookAtDisk(files.dir);
      return (await reader.size()) + (await journalSize(journalDirectory(stateDir, id)));
    },
    onLimit: (cause) => void stop(cause).catch(onFault), // the next tick asks again
    onFault,
  });
  const asked = stopCause();
  if (asked !== null) await stop(asked); // before the executor was there, or before an earlier daemon was killed

  for (;;) {
    const exit = watch.exit;
    const { lines, atEnd } = await reader.read();
    if (lines.length > 0) {
      onStep('parse.read');
      const told = await recordLines(options, parse, lines, { isOver: () => watch.exit !== undefined });
      watchdog.touch(told === 0 ? 'silent' : parse.retryDelayMs);
      if (parse.isStuck && stopCause() === null) await stop('retry_limit');
    } else if (atEnd && exit) {
      onStep('exit.seen');
      const partial = reader.takePartial();
      if (partial) await recordLines(options, parse, [partial], { partial: true, isOver: () => true });
      return await conclude(options, parse, exit);
    } else if (atEnd) {
      await wake.promise;
      wake = Promise.withResolvers();
    }
    signal.throwIfAborted();
  }
}

/** How many events the lines gave. */
async function recordLines(
  { services, record, stopCause, signal }: FollowOptions,
  parse: Parse,
  lines: readonly CaptureLine[],
  { partial = false, isOver }: { partial?: boolean; isOver: () => boolean },
): Promise<number> {
  const { clock, onStep } = services;
  const events = lines.flatMap((line) => parse.line(line, { partial }));
  onStep('parse.folded');
  const { session } = parse;
  await record.write(
    { captureOffset: lines.at(-1)!.end, activeAt: clock.now(), ...(session !== undefined && { session }) },
    events,
    { signal, isUrgent: () => isOver() || stopCause() !== null }, // an ending that waits behind it must not wait for the disk
  );
  onStep('parse.committed');
  return events.length;
}

async function conclude(
  { services, record, files, stopCause }: FollowOptions,
  parse: Parse,
  exit: TurnExit,
): Promise<{ ending: Ending; evidence: Evidence }> {
  const { layout, onStep } = services;
  const parsed = parse.end(exit.kind === 'exit' ? exit.exit : { code: null, signal: null });
  await record.lookAtDisk(files.dir);
  const terminal = parse.masked(await terminalTail(journalDirectory(layout.stateDir, record.row.id)));
  const { sawFullDisk } = record;
  const decided = decideEnding({ exit, parsed, stopCause: stopCause(), sawFullDisk, terminal });
  onStep('ending.folded');
  return decided;
}

async function hasLiveChildren({ hosts, containment }: TurnServices, turnId: string): Promise<boolean> {
  const status = hosts.terminals().find(({ id }) => id === turnId);
  if (!status) return false;
  const { cgroup, pid, startTime } = status;
  const marker = { name: markerName, value: turnId };
  return containment.liveChildren({ cgroup, leader: { pid, startTime }, marker });
}
