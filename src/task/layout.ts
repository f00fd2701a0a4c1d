import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../base/files.ts';
import { parseJsonObject } from '../base/json.ts';
import type { TaskId, TurnId } from '../protocol/ids.ts';

/** Where a task and its turns have their private files below the state directory. */
export class Layout {
  readonly stateDir: string;

  constructor(stateDir: string) {
    this.stateDir = stateDir;
  }

  /** The workspace of a task that named none. */
  workspace(taskId: TaskId): string {
    return join(this.stateDir, 'workspaces', taskId);
  }

  /** An executor's configuration and conversation store, kept until the task is deleted. */
  configDir(taskId: TaskId, executor: string): string {
    return join(this.stateDir, 'tasks', taskId, executor);
  }

  taskDir(taskId: TaskId): string {
    return join(this.stateDir, 'tasks', taskId);
  }

  get turnsDir(): string {
    return join(this.stateDir, 'turns');
  }

  turn(turnId: TurnId): TurnFiles {
    return new TurnFiles(join(this.turnsDir, turnId), join(this.stateDir, 'tmp', turnId));
  }

  terminalDir(terminalId: string): string {
    return join(this.stateDir, 'terminals', terminalId);
  }
}

/** A turn's private directory (0700), gone when its last event is recorded; and its TMPDIR, which does not lead there. */
export class TurnFiles {
  readonly dir: string;
  readonly tmp: string;

  constructor(dir: string, tmp: string) {
    this.dir = dir;
    this.tmp = tmp;
  }

  get prompt(): string {
    return join(this.dir, 'prompt');
  }

  /** What the turn was given beside its prompt. */
  get inputs(): string {
    return join(this.dir, 'inputs');
  }

  /** Paths of the files that its plan made in the executor's configuration; they go with the turn. */
  get planned(): string {
    return join(this.dir, 'planned');
  }

  /** Which credential file it was given, and what was in it (as a hash). */
  get credential(): string {
    return join(this.dir, 'credential');
  }

  /** What the executor reads as its standard input. */
  get stdin(): string {
    return join(this.dir, 'stdin');
  }

  /** The executor's standard output, as it came: not masked, hence private. */
  get capture(): string {
    return join(this.dir, 'capture');
  }

  /** What the pty host is asked for, so that after a crash it is asked for the very same, whatever has changed since. */
  get launch(): string {
    return join(this.dir, 'launch');
  }

  /** Values to mask, so that a restarted daemon masks before it parses another byte. */
  get secrets(): string {
    return join(this.dir, 'secrets');
  }

  async make(): Promise<void> {
    for (const path of [this.dir, this.tmp]) await mkdir(path, { recursive: true, mode: 0o700 });
  }

  /** What was put into the executor's configuration for this turn may hold secrets. The executor may have put anything in its place. */
  async removePlanned(): Promise<void> {
    const planned = await readFile(this.planned, 'utf8').catch(() => '[]'); // not that far yet
    const paths = parseJsonObject(planned) ?? [];
    await Promise.all((paths as string[]).map((path) => rm(path, { recursive: true, force: true })));
  }

  /** Removes all that it can before it throws. */
  async remove(): Promise<void> {
    const steps = [this.removePlanned(), removeTree(this.tmp)];
    const failed = (await Promise.allSettled(steps)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
    await removeTree(this.dir); // last: it says what else there is to remove
  }
}
