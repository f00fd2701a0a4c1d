import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { DaemonError } from '../src/protocol/errors.ts';
import { TaskId, TurnId } from '../src/protocol/ids.ts';
import { migrations } from '../src/store/migrations.ts';
import { Store } from '../src/store/store.ts';
import { startWriterThread } from '../src/store/writer-thread.ts';

const everything = { maxEvents: 1_000_000, maxBytes: 1_000_000_000 };
let turns = 0;

/** A store in a directory of its own, gone with it. */
async function openStore() {
  const stateDir = await mkdtemp(join(tmpdir(), 'hd-store-'));
  const store = await Store.open({ stateDir });
  return {
    stateDir,
    store,
    path: join(stateDir, 'harnessd.db'),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await rm(stateDir, { recursive: true });
    },
  };
}

const newTurn = (requestId: string | null = null, bodyMac = 'mac') => ({
  id: TurnId.parse(`turn-${(turns += 1)}`),
  requestId,
  bodyMac,
  executor: 'claude',
  model: 'm',
  member: null,
  timeoutMs: null,
});

async function createTask(store: Store, id: string, bodyMac = 'mac') {
  const turn = newTurn();
  const task = { id: TaskId.parse(id), bodyMac, workspace: '/', ownsWorkspace: false };
  const events = [{ type: 'task.created', data: { workspace: '/' } }] as const;
  const { turnId, isNew } = await store.write('createTask', { task, turn, events, at: 1 });
  return { taskId: task.id, turnId, isNew };
}

const say = (...texts: string[]) => texts.map((text) => ({ type: 'message.added', data: { text } }) as const);

function advance(store: Store, { taskId, turnId }: { taskId: TaskId; turnId: TurnId }, ...texts: string[]) {
  return store.write('advance', { taskId, turnId, change: { activeAt: 1 }, events: say(...texts), at: 2 });
}

/** How positions that count without a gap look. */
const counted = (length: number): number[] => Array.from({ length }, (_, n) => n + 1);

test('[P1.3] ids and seqs have no gap, whatever is written at once, refused, or fails', async () => {
  const command = fc.record({
    kind: fc.constantFrom('create', 'advance', 'prompt', 'conflict', 'delete', 'fail'),
    task: fc.integer({ min: 0, max: 4 }),
    events: fc.integer({ min: 0, max: 4 }),
    waits: fc.boolean(),
  });
  await using opened = await openStore();
  const { store } = opened;
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 40 }), async (commands) => {
      run += 1;
      const writing: Promise<unknown>[] = [];
      for (const { kind, task, events, waits } of commands) {
        const taskId = TaskId.parse(`run${run}-task${task}`);
        const texts = Array.from({ length: events }, String);
        const turnId = store.turnsOf(taskId)[0]?.id ?? TurnId.parse('none');
        const write = {
          create: () => createTask(store, taskId),
          conflict: () => createTask(store, taskId, 'another'),
          advance: () => advance(store, { taskId, turnId }, ...texts),
          prompt: () => store.write('addTurn', { taskId, turn: newTurn(`r${events}`), events: say(...texts), at: 3 }),
          delete: () => store.write('deleteTask', { taskId, at: 4 }),
          fail: () =>
            store.write('advance', { taskId, turnId, change: { state: null as never }, events: say(...texts), at: 5 }),
        }[kind];
        const written = write().catch((error: unknown) => expect(error).toBeInstanceOf(DaemonError));
        if (waits) await written;
        else writing.push(written);
      }
      await Promise.all(writing);
      const all = store.eventsAfter(0, everything);
      expect(all.map(({ id }) => id)).toEqual(counted(all.length));
      for (let task = 0; task <= 4; task += 1) {
        const taskId = TaskId.parse(`run${run}-task${task}`);
        const seqs = store.taskEventsAfter(taskId, 0, everything).map(({ seq }) => seq);
        expect(seqs).toEqual(counted(seqs.length));
        expect(store.task(taskId)?.latestSeq ?? seqs.length).toBe(seqs.length);
      }
      expect(store.latestId).toBe(all.length);
    }),
    { numRuns: 60 },
  );
});

test('a write that is refused undoes itself alone: what is committed with it stays', async () => {
  await using opened = await openStore();
  const { store } = opened;
  const one = await createTask(store, 'one');
  const results = await Promise.allSettled([
    advance(store, one, 'a'),
    createTask(store, 'one', 'another body'),
    advance(store, { ...one, taskId: TaskId.parse('none') }, 'nobody'),
    advance(store, one, 'b', 'c'),
    store.write('deleteTask', { taskId: TaskId.parse('none'), at: 1 }),
    createTask(store, 'two'),
  ]);
  expect(results.map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'rejected',
    'fulfilled',
    'rejected',
    'fulfilled',
  ]);
  expect(store.eventsAfter(0, everything).map(({ id, taskId, seq, data }) => [id, taskId, seq, data['text']])).toEqual([
    [1, 'one', 1, undefined],
    [2, 'one', 2, 'a'],
    [3, 'one', 3, 'b'],
    [4, 'one', 4, 'c'],
    [5, 'two', 1, undefined],
  ]);
});

test('[P1.1] whoever is told of an event finds it through another connection', async () => {
  await using opened = await openStore();
  const { store, path } = opened;
  const one = await createTask(store, 'one');
  const missing: number[] = [];
  let told = 0;
  using _committed = store.onCommitted(({ latestId, latestSeq, taskId }) => {
    const fresh = new Database(path, { readonly: true });
    const found = fresh
      .prepare('SELECT 1 FROM events WHERE id >= ? AND task_id = ? AND seq = ?')
      .get(latestId, taskId, latestSeq);
    if (!found) missing.push(latestId);
    told += 1;
    fresh.close();
  });
  await Promise.all(counted(200).map((n) => advance(store, one, `${n}`)));
  expect({ missing, told }).toEqual({ missing: [], told: 200 });
});

test('what comes in while a commit runs goes together into the next: many writes are two commits', async () => {
  await using opened = await openStore();
  const { store, path } = opened;
  const one = await createTask(store, 'one');
  const db = new Database(path, { readonly: true });
  const seen: unknown[] = [];
  using _committed = store.onCommitted(() => seen.push(db.prepare('SELECT count(*) FROM events').pluck().get()));
  await Promise.all(counted(100).map((n) => advance(store, one, `${n}`)));
  db.close();
  // The first is told of while the second may be on disk already; all others are told of when all are there.
  expect([2, 101]).toContain(seen[0]);
  expect(seen.slice(1)).toEqual(Array.from({ length: 99 }, () => 101));
});

test('pages hold at most so many events and bytes, and always one', async () => {
  await using opened = await openStore();
  const { store } = opened;
  const one = await createTask(store, 'one');
  await advance(store, one, 'x'.repeat(1000), 'y'.repeat(1000), 'z', 'z', 'z');
  const sizes = (maxEvents: number, maxBytes: number): number[] => {
    const found: number[] = [];
    for (let after = 0; after < 6; after += found.at(-1)!)
      found.push(store.eventsAfter(after, { maxEvents, maxBytes }).length);
    return found;
  };
  expect(sizes(2, 1_000_000)).toEqual([2, 2, 2]);
  expect(sizes(100, 1)).toEqual([1, 1, 1, 1, 1, 1]);
  expect(sizes(100, 1500)).toEqual([2, 4]);
});

test('a deleted task keeps its events’ places and nothing that they said', async () => {
  await using opened = await openStore();
  const { store, path } = opened;
  const one = await createTask(store, 'one');
  await advance(store, one, 'plans');
  await expect(store.write('deleteTask', { taskId: one.taskId, at: 3 })).rejects.toMatchObject({ code: 'task_active' });
  const evidence = { message: 'plans', exitCode: 1 };
  await store.write('advance', { ...one, change: { state: 'ended', evidence, session: 's' }, events: [], at: 3 });
  await store.write('deleteTask', { taskId: one.taskId, at: 4 });
  const erase = async (after: number) =>
    (await store.write('eraseEvents', { taskId: one.taskId, after, limit: 2 })).isDone;
  expect(store.tasksToErase()).toEqual(['one']);
  expect(await erase(0)).toBe(false);
  expect(store.tasksToErase()).toEqual(['one']);
  expect(await erase(2)).toBe(true);
  expect(store.tasksToErase()).toEqual([]);
  expect(store.eventsAfter(0, everything).map(({ id, seq, type, data }) => [id, seq, type, data])).toEqual([
    [1, 1, 'event.erased', {}],
    [2, 2, 'event.erased', {}],
    [3, 3, 'task.deleted', {}],
  ]);
  using db = disposable(new Database(path, { readonly: true }));
  expect(JSON.stringify(db.prepare('SELECT * FROM turns, tasks').all())).not.toContain('plans');
});

test('an empty file becomes a database of this schema, is kept by a second start, and is private', async () => {
  await using opened = await openStore();
  const { store, stateDir, path } = opened;
  await createTask(store, 'one');
  await store[Symbol.asyncDispose]();
  await using again = await Store.open({ stateDir });
  expect(again.task('one')).toMatchObject({ id: 'one', latestSeq: 1 });
  using db = disposable(new Database(path, { readonly: true }));
  expect(db.pragma('user_version', { simple: true })).toBe(migrations.length);
  expect(((await stat(path)).mode & 0o777).toString(8)).toBe('600');
});

test('[P11.3] a database that a newer harnessd wrote, or that is none, is refused by name and left as it is', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'hd-store-'));
  const path = join(stateDir, 'harnessd.db');
  using db = disposable(new Database(path));
  db.pragma('user_version = 999');
  await expect(Store.open({ stateDir })).rejects.toMatchObject({
    code: 'store_unusable',
    message: expect.stringMatching(
      /harnessd\.db cannot be used: the database has schema 999, .* newer harnessd/,
    ) as string,
  });
  expect(db.pragma('user_version', { simple: true })).toBe(999);
  db.close();
  await writeFile(path, 'this is no database, and long enough that nobody takes it for an empty one'.repeat(100));
  await expect(Store.open({ stateDir })).rejects.toMatchObject({
    code: 'store_unusable',
    message: expect.stringContaining(`${path} cannot be used: file is not a database`) as string,
  });
  await rm(stateDir, { recursive: true });
});

test('a write that is no data is refused alone: what goes with it and what follows is written', async () => {
  await using opened = await openStore();
  const { store } = opened;
  const one = await createTask(store, 'one');
  const broken = { ...one, change: {}, events: [{ type: 'message.added', data: { text: () => 'a function' } }] };
  const written = [
    advance(store, one, 'a'),
    store.write('advance', { ...broken, at: 1 } as never),
    advance(store, one, 'b'),
  ];
  expect((await Promise.allSettled(written)).map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
  ]);
  await advance(store, one, 'c');
});

test('[P11.3] a database of any older schema is brought up to this one, with all that is in it', async () => {
  for (let version = 1; version < migrations.length; version += 1) {
    const stateDir = await mkdtemp(join(tmpdir(), 'hd-store-'));
    const path = join(stateDir, 'harnessd.db');
    using db = disposable(new Database(path));
    for (const sql of migrations.slice(0, version)) db.exec(sql);
    db.pragma(`user_version = ${version}`);
    db.exec(`INSERT INTO tasks (id, ordinal, body_mac, workspace, owns_workspace, created_at, latest_seq) VALUES ('old', 1, 'm', '/w', 0, 1, 1);
      INSERT INTO turns (id, task_id, ordinal, body_mac, executor, model, state, queued_at) VALUES ('u', 'old', 1, 'm', 'claude', 'x', 'queued', 1);
      INSERT INTO events (id, task_id, seq, turn_id, at, type, data) VALUES (1, 'old', 1, 'u', 1, 'turn.queued', '{"prompt":"hello"}');`);
    db.close();
    await using store = await Store.open({ stateDir });
    expect(store.openTurns()).toMatchObject([{ id: 'u', member: null, lease: null, waiting: null }]);
    expect(store.promptOf(TurnId.parse('u'))).toBe('hello');
    await advance(store, { taskId: TaskId.parse('old'), turnId: TurnId.parse('u') }, 'more');
    expect(store.eventsAfter(0, { maxEvents: 9, maxBytes: 9_999 }).map(({ id, seq }) => [id, seq])).toEqual([
      [1, 1],
      [2, 2],
    ]);
    await store[Symbol.asyncDispose]();
    await rm(stateDir, { recursive: true });
  }
});

test('a writer that dies refuses what waits and what comes, and can be closed', async () => {
  const stateDir = await mkdtemp(join(tmpdir(), 'hd-store-'));
  const thread = startWriterThread();
  const store = await Store.open({ stateDir, writer: thread });
  const one = await createTask(store, 'one');
  const waiting = [advance(store, one, 'a'), advance(store, one, 'b')];
  const ended = thread.worker.terminate();
  const results = await Promise.allSettled(waiting);
  await ended;
  await expect(advance(store, one, 'c')).rejects.toThrow('the writer ended');
  expect(results.at(-1)).toMatchObject({ status: 'rejected' });
  await store[Symbol.asyncDispose]();
  await rm(stateDir, { recursive: true });
});

test('what is written until it is closed is durable, what comes later is refused', async () => {
  await using opened = await openStore();
  const { store, stateDir } = opened;
  const one = await createTask(store, 'one');
  const writes = counted(20).map((n) => advance(store, one, `${n}`));
  await store[Symbol.asyncDispose]();
  await Promise.all(writes);
  await expect(advance(store, one, 'late')).rejects.toMatchObject({ code: 'shutting_down' });
  await using again = await Store.open({ stateDir });
  expect(again.latestId).toBe(21);
});

function disposable(db: Database.Database): Database.Database & Disposable {
  return Object.assign(db, { [Symbol.dispose]: () => void db.close() });
}
