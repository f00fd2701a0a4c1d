import { setTimeout as delay } from 'node:timers/promises';
import { abortable } from '../base/abortable.ts';
import type { Executor } from '../kit/executor.ts';
import type { Ending, Evidence, NewEvent, StopCause, WaitReason } from '../protocol/events.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';
import type { HostClient } from '../pty-host/client.ts';
import { HostError } from '../pty-host/host-error.ts';
import { readTerminalRecord } from '../pty-host/terminal-record.ts';
import type { TaskRow, TurnChange, TurnRow } from '../store/rows.ts';
import { followTurn } from './follow-turn.ts';
import {
  launchFailure,
  LaunchFailure,
  launchNotes,
  Postponed,
  prepareLaunch,
  readLaunch,
  sessionToResume,
  type Launch,
} from './launch.ts';
import type { TurnFiles } from './layout.ts';
import { takeRefreshed } from './refresh.ts';
import type { TurnInputs } from './turn-inputs.ts';
import { lackOf } from './turn-needs.ts';
import { TurnRecord, type RecordOptions } from './turn-record.ts';
import type { TurnServices } from './turn-services.ts';

const reconnectMs = 50;

/**
 * One prompt run by one executor, from queued to ended. Each step is recorded before the next begins, and each can be
 * done again: `run` goes on from wherever an earlier daemon was killed.
 */
export class Turn {
  readonly #services: TurnServices;
  readonly #task: TaskRow;
  readonly #inputs: TurnInputs;
  readonly #files: TurnFiles;
  readonly #detached = new AbortController();
  readonly #recorded: TurnRecord;
  /** Decided before it is recorded, so that a cancel and a launch cannot both win. */
  #fate: 'queued' | 'launched' | 'cancelled';
  #stopCause: StopCause | null;
  /** Its ending is decided and being recorded: nothing is added to that. */
  #isEnding = false;
  #waiting: WaitReason | null;
  #preparing: Promise<Launch> | undefined;
  /** The recording of a cancel before the launch. */
  #cancelling: Promise<void> | undefined;

  constructor(services: TurnServices, task: TaskRow, row: TurnRow, inputs: TurnInputs) {
    this.#services = services;
    this.#task = task;
    this.#inputs = inputs;
    this.#files = services.layout.turn(row.id);
    this.#recorded = new TurnRecord(services, row);
    this.#fate = row.state === 'queued' ? 'queued' : 'launched';
    this.#stopCause = row.stopCause;
    this.#waiting = row.waiting;
    if (row.lease !== null) services.credentials.lease(row.lease, row.id);
  }

  get #row(): TurnRow {
    return this.#recorded.row;
  }

  get id(): TurnId {
    return this.#row.id;
  }

  get taskId(): TaskId {
    return this.#row.taskId;
  }

  get workspace(): string {
    return this.#task.workspace;
  }

  get isLaunched(): boolean {
    return this.#fate === 'launched';
  }

  get #isCancelled(): boolean {
    return this.#fate === 'cancelled';
  }

  get hasEnded(): boolean {
    return this.#row.state === 'ended';
  }

  /** What it needs and cannot have yet. Whatever forbids it for good is told when it starts. */
  get lacks(): WaitReason | undefined {
    return this.#fate === 'queued' ? lackOf(this.#services, this.#row, this.#inputs) : undefined;
  }

  /** Told when the reason changes. */
  noteWaiting(reason: WaitReason): void {
    if (this.#fate !== 'queued' || this.#waiting === reason) return;
    this.#waiting = reason;
    const told = this.#record({ waiting: reason }, [{ type: 'turn.waiting', data: { reason } }]);
    told.catch((error: unknown) => this.#services.log.debug({ err: error, turnId: this.id }, 'not recorded')); // only told
  }

  /** Resolves when the turn has ended, or when the daemon lets go of it. */
  async run(): Promise<void> {
    try {
      const launch = this.#row.state === 'queued' ? await this.#launch() : undefined;
      if (this.#isCancelled) return await this.#cancelling; // not before: a turn that comes back without an end is run again
      if (this.#row.state === 'launching') await this.#spawn(launch);
      const { ending, evidence } = await followTurn({
        services: this.#services,
        record: this.#recorded,
        files: this.#files,
        definition: this.#definition(),
        stopCause: () => this.#stopCause,
        stop: (cause) => this.stop(cause),
        signal: this.#detached.signal,
      });
      await this.#end(ending, evidence);
    } catch (error) {
      if (this.#detached.signal.aborted || error instanceof Postponed) return;
      if (!(error instanceof LaunchFailure)) throw error;
      if (this.#isCancelled) return this.#cancelling;
      await this.#end(error.ending, error.evidence);
    }
  }

  /** Begins to end the turn; the first cause counts. Resolves when that is recorded. */
  async stop(cause: StopCause): Promise<void> {
    if (this.hasEnded || this.#isEnding) return;
    if (this.#stopCause !== null) return this.#endTree(); // asked for again
    this.#stopCause = cause;
    const stopping: NewEvent = { type: 'turn.stopping', data: { cause } };
    if (this.#fate === 'queued') {
      this.#fate = 'cancelled';
      this.#cancelling = this.#end(
        { outcome: 'cancelled', reason: cause === 'by_stop' ? 'by_stop' : 'by_peer' },
        {},
        { stopCause: cause },
        [stopping],
      ).catch((error: unknown) => {
        if (!this.hasEnded) [this.#fate, this.#stopCause] = ['queued', null]; // not recorded: it waits as before
        throw error;
      });
      await this.#cancelling;
    } else {
      await this.#record({ stopCause: cause }, [stopping], { isUrgent: () => true });
      void this.#services.calls.endTurn(this.id, cause === 'by_peer' ? 'cancelled' : 'turn_ended'); // does not reject
      this.#endTree();
    }
  }

  /** Lets go of the turn without ending it. */
  detach(): void {
    this.#detached.abort();
  }

  async #launch(): Promise<Launch | undefined> {
    const { clock, limits, onStep } = this.#services;
    const { executor, model, member, timeoutMs } = this.#row;
    const resumes = await sessionToResume(this.#services, this.#row, this.#definition());
    if (this.#isCancelled) return undefined;
    this.#preparing = this.#prepare(resumes);
    const launch = await this.#preparing;
    const host = await this.#newestHost();
    onStep('launch.planned');
    if (this.#isCancelled) return undefined;
    this.#fate = 'launched';
    const now = clock.now();
    const deadlineAt = now + (timeoutMs ?? limits.timeoutMs);
    const { version, admitted, tokenHash } = launch;
    const { payment } = admitted;
    const lease = payment.kind === 'configured' ? (payment.lease ?? null) : null;
    await this.#record(
      {
        state: 'launching',
        startedAt: now,
        activeAt: now,
        deadlineAt,
        hostId: host.hostId,
        resumes: resumes ?? null,
        tokenHash,
        lease,
      },
      [
        {
          type: 'turn.started',
          data: {
            executor,
            model,
            ...(version && { version }),
            ...(resumes && { resumes }),
            provider: payment.kind === 'offline' ? 'offline' : 'configured',
            mode: payment.mode,
            ...(member !== null && { member }),
            deadlineAt,
          },
        },
        ...launchNotes(launch),
      ],
      { at: now },
    );
    onStep('launch.committed');
    return launch;
  }

  /** Idempotent in the host, so that after a crash it is simply asked again. */
  async #spawn(prepared: Launch | undefined): Promise<void> {
    const { hosts, layout, containment, onStep } = this.#services;
    const request = prepared?.request ?? (await readLaunch(this.#files, this.#services));
    for (;;) {
      const known = this.#row.hostId === null ? null : hosts.byId(this.#row.hostId);
      if (!known && (await readTerminalRecord(layout.stateDir, this.id))) return; // its host has died since: it is found how it ended
      const host = known ?? (await this.#newestHost());
      if (host.hostId !== this.#row.hostId) await this.#record({ hostId: host.hostId }, []);
      try {
        const { pid } = await abortable(this.#detached.signal, host.spawn(request));
        onStep('launch.spawned');
        await this.#record({ state: 'running' }, [
          { type: 'turn.running', data: { terminalId: this.id, pid, containment: containment.level } },
        ]);
        onStep('launch.recorded');
        return;
      } catch (error) {
        if (!(error instanceof HostError) || error.code !== 'disconnected') throw launchFailure(error);
        await delay(reconnectMs, undefined, { signal: this.#detached.signal });
      }
    }
  }

  async #end(
    ending: Ending,
    evidence: Evidence,
    change: TurnChange = {},
    events: readonly NewEvent[] = [],
  ): Promise<void> {
    const { hosts, clock, log, onStep } = this.#services;
    this.#isEnding = true;
    try {
      await this.#services.calls.endTurn(this.id, 'turn_ended');
      const refreshed = await takeRefreshed(this.#services, this.#row);
      await this.#record(
        { ...change, state: 'ended', outcome: ending.outcome, reason: ending.reason, evidence, endedAt: clock.now() },
        [...events, ...refreshed, { type: 'turn.ended', data: { ...ending, evidence } }],
        { isUrgent: () => true },
      );
    } finally {
      this.#isEnding = false;
    }
    this.#services.calls.forgetTurn(this.id);
    onStep('ending.committed');
    log.info({ taskId: this.taskId, turnId: this.id, ...ending }, 'turn ended');
    const host = this.#row.hostId === null ? undefined : hosts.byId(this.#row.hostId);
    void host?.forget(this.id).catch(() => undefined); // it only frees the host's memory
    await this.#preparing?.catch(() => undefined); // cancelled meanwhile: it still writes files
    await this.#files.remove().catch((error: unknown) => {
      log.error({ err: error, turnId: this.id }, 'not cleared away; the next start tries again');
    });
    this.#services.credentials.release(this.id);
    onStep('cleanup.done');
  }

  #prepare(resumes: string | undefined): Promise<Launch> {
    const prepared = { task: this.#task, turn: this.#row, inputs: this.#inputs, resumes };
    return this.#orNotLaunched(prepareLaunch(this.#services, prepared));
  }

  #newestHost(): Promise<HostClient> {
    return this.#orNotLaunched(this.#services.hosts.newest());
  }

  /** Whatever goes wrong before the launch is the turn's end, unless the daemon lets go of it. */
  async #orNotLaunched<Result>(step: Promise<Result>): Promise<Result> {
    const { signal } = this.#detached;
    try {
      return await abortable(signal, step);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof Postponed ? error : launchFailure(error);
    }
  }

  /** Only asks for it: a host that does not answer keeps nobody waiting. The exit tells when it is done, the watchdog asks again. */
  #endTree(): void {
    const { hosts, limits, log } = this.#services;
    const host = this.#row.hostId === null ? undefined : hosts.byId(this.#row.hostId);
    void host
      ?.end({ id: this.id, signal: this.#definition().stopSignal, graceMs: limits.graceMs })
      .catch((error: unknown) => log.debug({ err: error, turnId: this.id }, 'the host did not take it'));
  }

  #definition(): Executor {
    const installed = this.#services.executor(this.#row.executor);
    if (!installed)
      throw new LaunchFailure('executor_unavailable', `${this.#row.executor} is not an executor of this harnessd`);
    return installed.definition;
  }

  #record(change: TurnChange, events: readonly NewEvent[], options?: RecordOptions): Promise<void> {
    return this.#recorded.write(change, events, { signal: this.#detached.signal, ...options });
  }
}
