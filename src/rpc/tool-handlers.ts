import type { ToolRegistry } from '../tooling/registry.ts';
import type { Handlers } from './handlers.ts';

/** Tools, as peers call them. */
export function toolHandlers(registry: ToolRegistry): Pick<Handlers, 'tool.list' | 'tool.call'> {
  return {
    'tool.list': () => ({ tools: [...registry.list()] }),
    'tool.call': async ({ name, input, id, taskId }, { signal, cancelled }) => {
      const { callId, output } = await registry.call({
        name,
        input,
        caller: { kind: 'peer', ...(taskId !== undefined && { taskId }) },
        via: 'rpc',
        ...(id !== undefined && { id }),
        signal: id === undefined ? signal : cancelled, // who comes back asks again with its id
      });
      return { callId, output };
    },
  };
}
