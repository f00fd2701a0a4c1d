import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import watch from '../executors/opencode-plugin.ts';

/* What OpenCode loads into itself: here it is told what happens, and its standard output is read. */

interface Hooks {
  event(happening: { readonly event: object }): void;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test('tells of a call that lasts, and of a later one by the same id', async () => {
  const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  const hooks = (await watch()) as Hooks;
  const happens = (status: string, input: object): void => {
    const part = { type: 'tool', sessionID: 'ses_1', tool: 'bash', callID: 'a', state: { status, input } };
    hooks.event({ event: { type: 'message.part.updated', properties: { part } } });
  };
  for (const command of ['first', 'second']) {
    happens('running', { command });
    happens('running', { command });
    vi.advanceTimersByTime(500);
    happens('completed', { command });
  }
  happens('running', { command: 'quick' });
  happens('completed', { command: 'quick' });
  vi.runAllTimers();
  const told = stdout.mock.calls.map(([line]) => JSON.parse(String(line)) as object);
  stdout.mockRestore();
  const call = (command: string) => ({
    type: 'harnessd.tool',
    sessionID: 'ses_1',
    tool: 'bash',
    callID: 'a',
    input: { command },
  });
  expect(told).toEqual([call('first'), call('second')]);
});
