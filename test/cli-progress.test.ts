import { expect, test } from 'vitest';
import { createProgress } from '../src/cli/progress.ts';
import { plain } from '../src/cli/style.ts';
import { taskTable } from '../src/cli/tasks.ts';
import type { NewEvent, StoredEvent } from '../src/protocol/events.ts';
import { TaskId, TurnId } from '../src/protocol/ids.ts';

const taskId = TaskId.parse('t1');
const turnId = TurnId.parse('u1');

/** Events a second apart. */
function stored(events: readonly NewEvent[]): StoredEvent[] {
  return events.map(({ type, data }, index) => ({
    id: index + 1,
    seq: index + 1,
    taskId,
    turnId: type === 'task.created' ? null : turnId,
    at: index * 1_000,
    type,
    data: data as Record<string, unknown>,
  }));
}

function told(...events: readonly NewEvent[]): string {
  const progress = createProgress(plain);
  return stored(events)
    .map(progress)
    .filter((text) => text !== '')
    .join('\n');
}

test('a turn that succeeds is told from prompt to end', () => {
  expect(
    told(
      { type: 'task.created', data: { workspace: '/w' } },
      { type: 'turn.queued', data: { prompt: 'create\nhello.txt', executor: 'claude', model: 'sonnet' } },
      {
        type: 'turn.started',
        data: {
          executor: 'claude',
          model: 'sonnet',
          version: '2.1',
          provider: 'offline',
          mode: 'credits',
          deadlineAt: 1,
        },
      },
      { type: 'turn.running', data: { terminalId: 'u1', pid: 1, containment: 'weak' } },
      { type: 'executor.session', data: { sessionId: 's' } },
      { type: 'thought.added', data: { text: 'a file, then' } },
      { type: 'message.added', data: { text: 'I will write it.\nNow.\n' } },
      {
        type: 'tool.called',
        data: { callId: 'c', name: 'Bash', input: { command: 'echo hi > hello.txt\ncat hello.txt', timeout: 1 } },
      },
      { type: 'tool.finished', data: { callId: 'c', outcome: 'ok', output: 'hi\n' } },
      { type: 'tool.called', data: { callId: 'd', name: 'Todo', input: { items: [1] }, parentCallId: 'c' } },
      { type: 'tool.finished', data: { callId: 'd', outcome: 'error', output: 'no such\nthing', exitCode: 3 } },
      {
        type: 'usage.reported',
        data: {
          model: 'sonnet',
          inputTokens: 1234,
          outputTokens: 5,
          cacheReadTokens: 70000,
          cacheWriteTokens: 0,
          costUsd: 0.01234,
        },
      },
      { type: 'turn.ended', data: { outcome: 'succeeded', reason: 'completed', evidence: { exitCode: 0 } } },
    ),
  ).toBe(
    `workspace /w
❯ create hello.txt
claude 2.1, sonnet, answered by the offline model (scripted)
  a file, then
I will write it.
Now.
▸ Bash echo hi > hello.txt cat hello.txt
  hi
    ▸ Todo {"items":[1]}
  ✗ (exit 3) no such
    thing
usage of sonnet: 1,234 tokens in, 5 out, cache 70,000 read 0 written, $0.0123 as the executor reckons
✓ succeeded after 10.0 s`,
  );
});

test('a turn that fails is told with its retries and its evidence', () => {
  expect(
    told(
      {
        type: 'retry.announced',
        data: { attempt: 1, maxAttempts: 3, delayMs: 600, httpStatus: 529, message: 'overloaded' },
      },
      { type: 'warning.raised', data: { code: 'x', message: 'mind the gap' } },
      { type: 'executor.unparsed', data: { text: 'garbage' } },
      {
        type: 'turn.ended',
        data: {
          outcome: 'failed',
          reason: 'provider_error',
          evidence: {
            exitCode: 1,
            httpStatus: 529,
            message: 'API Error: 529',
            terminal: 'first\nlast',
            swept: 2,
            saidResult: true,
          },
        },
      },
    ),
  ).toBe(
    `retry 1 of 3 in 600 ms: HTTP 529, overloaded
warning: mind the gap
the executor printed: garbage
✗ failed: provider_error after 0 ms: the provider failed (5xx) until the executor gave up
  exit code 1, HTTP 529, 2 processes swept
  it said: API Error: 529
  last on its terminal:
    first
    last`,
  );
});

test('long results are cut, and nothing that an agent prints reaches the terminal as a command', () => {
  const output = Array.from({ length: 10 }, (_, index) => `line ${index}`).join('\r\n');
  expect(
    told(
      { type: 'tool.finished', data: { callId: 'c', outcome: 'ok', output } },
      { type: 'message.added', data: { text: 'a\u001B[2Jb\u001B]0;title\u0007c\u0008d\u009B31m\té' } },
      { type: 'tool.called', data: { callId: 'c', name: 'Bash', input: { command: 'x'.repeat(500) } } },
    ),
  ).toBe(`  line 0
  line 1
  line 2
  line 3
  line 4
  line 5
  … 4 more lines
abc·d\té
▸ Bash ${'x'.repeat(119)}…`);
});

test('tasks are listed in columns, cut at the edge of the terminal', () => {
  const turn = { turnId, ordinal: 1, executor: 'claude', model: 'm', prompt: 'Create the\nfile', queuedAt: 0 };
  const task = { taskId, workspace: '/w', createdAt: 0, latestSeq: 1 };
  const found = [
    { ...task, turns: [{ ...turn, state: 'running' as const }] },
    { ...task, turns: [{ ...turn, state: 'ended' as const, outcome: 'failed' as const, reason: 'auth' as const }] },
  ];
  expect(taskTable(found, { now: 90_000, columns: 65 })).toBe(
    `TASK  STATE        EXECUTOR  AGE         WORKSPACE  PROMPT
t1    running      claude    1 min 30 s  /w         Create the f…
t1    failed/auth  claude    1 min 30 s  /w         Create the f…`,
  );
});
