import { mkdir } from 'node:fs/promises';
import type { NewEvent } from '../../src/protocol/events.ts';
import { TaskId, TurnId } from '../../src/protocol/ids.ts';
import { Store } from '../../src/store/store.ts';

export const eventBytes = 200;

export interface BenchTurn {
  readonly taskId: TaskId;
  readonly turnId: TurnId;
}

export async function openStore(stateDir: string): Promise<Store> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  return Store.open({ stateDir });
}

/** A task whose turn has ended already, so that a daemon that finds it launches nothing. */
export async function createTurn(store: Store, name: string): Promise<BenchTurn> {
  const [taskId, turnId, at] = [TaskId.parse(`task-${name}`), TurnId.parse(`turn-${name}`), Date.now()];
  const turn = {
    id: turnId,
    requestId: null,
    bodyMac: '',
    executor: 'claude',
    model: 'bench',
    member: null,
    timeoutMs: null,
  };
  const task = { id: taskId, bodyMac: '', workspace: '/nowhere', ownsWorkspace: false };
  await store.write('createTask', { task, turn, events: [], at });
  await store.write('advance', { taskId, turnId, change: { state: 'ended', endedAt: at }, events: [], at });
  return { taskId, turnId };
}

/** Events as a parse records them: a batch with the offset up to which it has read. */
export async function advance(store: Store, { taskId, turnId }: BenchTurn, events: readonly NewEvent[]): Promise<void> {
  const at = Date.now();
  await store.write('advance', { taskId, turnId, change: { captureOffset: at, activeAt: at }, events, at });
}

export function makeEvents(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    type: 'message.added',
    data: { text: `${index} `.padEnd(eventBytes - 11, 'the words of an agent ') },
  }));
}
