import { closeCodes, errorKinds } from '../protocol/errors.ts';
import { endings, eventData, Evidence, StoredEvent, type EventType, type Outcome } from '../protocol/events.ts';
import { methods, notifications, subprotocol } from '../protocol/methods.ts';
import { describeOptions } from '../config/options.ts';
import { meaningOf } from './ending-meanings.ts';
import { fieldsInShort, fieldTable, markdownTable } from './markdown.ts';

/** What the Agent Client Protocol has for each event. */
const clientProtocol: { readonly [T in EventType]: string } = {
  'task.created': 'none',
  'turn.queued': 'none',
  'turn.started': 'none',
  'turn.running': 'none',
  'turn.stopping': 'none',
  'turn.ended': '`session/prompt` response, `stopReason`',
  'executor.session': '`session/new` result',
  'message.added': '`session/update`, `agent_message_chunk`',
  'message.delta': '`session/update`, `agent_message_chunk`',
  'thought.added': '`session/update`, `agent_thought_chunk`',
  'tool.called': '`session/update`, `tool_call`',
  'tool.output': '`session/update`, `tool_call_update`',
  'tool.finished': '`session/update`, `tool_call_update`',
  'tool.interrupted': '`session/update`, `tool_call_update`, `status: failed`',
  'plan.updated': '`session/update`, `plan`',
  'usage.reported': 'none',
  'retry.announced': 'none',
  'warning.raised': 'none',
  'executor.unparsed': 'none',
  'turn.waiting': 'none',
  'turn.handed_over': 'none',
  'policy.changed': 'none',
  'credential.changed': 'none',
  'credential.refreshed': 'none',
  'event.erased': 'none',
  'task.deleted': 'none',
};

/** docs/protocol.md */
export function protocolPage(): string {
  return `${[head, methodSection(), notificationSection(), binaryFrames, eventSection(), endingSection(), errorSection(), limitSection()].join('\n\n')}\n`;
}

const head = `# The protocol: ${subprotocol}

<!-- Made from src/protocol by "harnessd docs": do not edit. -->

## Connecting

A WebSocket to \`/v1/rpc\` of the daemon's address (\`url\` in \`daemon.json\` of the state directory), with

- the subprotocol \`${subprotocol}\`; without it the upgrade is answered 400;
- \`Authorization: Bearer TOKEN\`. The first start writes a token with all rights to \`token\` (0600) in the state directory. Without a valid one the
  socket is closed with 4401;
- a \`Host\` that is the listening address, \`localhost\`, or in \`listen.allowedHosts\`, and no \`Origin\` but those in \`listen.allowedOrigins\`; else 403.

Text frames carry JSON-RPC 2.0, one request, answer or notification a frame (batches are not taken). \`params\` is an object. A request in flight is
cancelled by the notification \`$/cancel {"id": …}\` and then answered with \`request_cancelled\`. The daemon pings; a WebSocket library answers by itself.

\`\`\`
→ {"jsonrpc": "2.0", "id": 1, "method": "task.create", "params": {"prompt": "create hello.txt"}}
← {"jsonrpc": "2.0", "id": 1, "result": {"taskId": "…", "turnId": "…"}}
→ {"jsonrpc": "2.0", "id": 2, "method": "task.subscribe", "params": {"taskId": "…", "after": 0}}
← {"jsonrpc": "2.0", "id": 2, "result": {"subscription": "…", "latest": 3}}
← {"jsonrpc": "2.0", "method": "events", "params": {"subscription": "…", "events": [{"id": 1, "seq": 1, …}, …]}}
\`\`\`

Who comes back after a lost connection subscribes again with the last \`seq\` (or \`id\`) that it has, and gets what it missed, in order, once.

Two addresses answer plain HTTP: \`GET /healthz\` (200 while the daemon lives) and \`GET /readyz\` (200 or 503; with a valid token also the state of each
component). \`/mcp\` is for the executors of turns: see [tools](tools.md).`;

function methodSection(): string {
  const sections = Object.entries(methods).map(([name, { summary, params, result }]) =>
    [
      `### \`${name}\``,
      summary,
      fieldTable(params, 'input') || 'No params.',
      fieldTable(result, 'output') ? `Result:\n\n${fieldTable(result, 'output')}` : 'The result is an empty object.',
    ].join('\n\n'),
  );
  return [
    '## Methods',
    'A field with a `?` may be left out. Unknown fields in params are refused, unknown fields in what the daemon sends are to be ignored.',
    ...sections,
  ].join('\n\n');
}

function notificationSection(): string {
  const rows = Object.entries(notifications).map(([name, { summary, params }]) => {
    const fields = Object.keys(params.shape).map((field) => `\`${field}\``);
    return [`\`${name}\``, summary, fields.join(', ')];
  });
  return [
    '## Notifications',
    'What the daemon sends unasked:',
    markdownTable(['method', 'meaning', 'params'], rows),
  ].join('\n\n');
}

const binaryFrames = `## Binary frames

Bytes of a terminal come in a binary frame, just before the answer to \`terminal.read\`. There is none when \`bytes\` is 0. The daemon takes no binary frames.

\`\`\`
 0      1      2                  2+n                          10+n
 ┌──────┬──────┬──────────────────┬────────────────────────────┬───────────┐
 │ kind │  n   │ terminal id      │ offset of the first byte   │ bytes …   │
 │  1   │      │ n bytes, ASCII   │ 8 bytes, big-endian        │           │
 └──────┴──────┴──────────────────┴────────────────────────────┴───────────┘
\`\`\``;

function eventSection(): string {
  const rows = Object.entries(eventData).map(([type, data]) => [
    `\`${type}\``,
    fieldsInShort(data),
    clientProtocol[type as EventType],
  ]);
  return [
    '## Events',
    fieldTable(StoredEvent, 'output'),
    'The data by type, and what stands for it in the Agent Client Protocol:',
    markdownTable(['type', 'data', 'Agent Client Protocol'], rows),
  ].join('\n\n');
}

function endingSection(): string {
  const rows = (Object.keys(endings) as Outcome[]).flatMap((outcome) =>
    endings[outcome].map((reason) => [`\`${outcome}\``, `\`${reason}\``, meaningOf(outcome, reason)]),
  );
  return [
    '## How a turn ends',
    'The closed list of outcomes and reasons:',
    markdownTable(['outcome', 'reason', 'meaning'], rows),
    'The `evidence` says what was found; what is unknown is absent:',
    fieldTable(Evidence, 'output'),
  ].join('\n\n');
}

function errorSection(): string {
  const errors = Object.entries(errorKinds).map(([code, { number, fault, retry, summary }]) => [
    `\`${code}\``,
    `${number}`,
    fault,
    retry ? 'yes' : 'no',
    summary,
  ]);
  const closes = Object.entries(closeCodes).map(([code, { retry, summary }]) => [code, retry ? 'yes' : 'no', summary]);
  return [
    '## Errors',
    'A JSON-RPC error has the number, a message for people, and in `data` the `code`, whose `fault` it is (`caller`, `computer`, `daemon`) and whether a `retry` may help; some have more.',
    markdownTable(['code', 'number', 'fault', 'retry', 'meaning'], errors),
    '## Close codes',
    markdownTable(['code', 'come back', 'meaning'], closes),
  ].join('\n\n');
}

function limitSection(): string {
  const limits = describeOptions().filter(({ key }) => key.startsWith('limits.'));
  const rows = limits.map(({ key, default: value, description }) => [`\`${key}\``, value ?? '–', description]);
  return [
    '## Limits',
    'Options of the configuration, with their defaults:',
    markdownTable(['limit', 'default', 'meaning'], rows),
  ].join('\n\n');
}
