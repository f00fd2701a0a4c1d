import { eventData, type Evidence, type NewEvent, type StoredEvent } from '../protocol/events.ts';
import { meaningOf } from './ending-meanings.ts';
import { clip, duration, harmless, type Paint } from './style.ts';

const shownLines = 6;
const shownColumns = 160;

type Data<T extends NewEvent['type']> = Extract<NewEvent, { type: T }>['data'];

/** Tells the events of a task to a person. Each call takes the next event and gives its lines; '' for what needs no telling. */
export function createProgress(paint: Paint): (event: StoredEvent) => string {
  const startedAt = new Map<string | null, number>();
  return (event) => {
    if (event.type === 'turn.started') startedAt.set(event.turnId, event.at);
    const took = event.at - (startedAt.get(event.turnId) ?? event.at);
    const known = typed(event);
    return known
      ? lines(known, took, paint).join('\n')
      : `${event.type} ${clip(JSON.stringify(event.data), shownColumns)}`;
  };
}

/** A newer daemon's event may not fit: then it is shown as it is. */
function typed({ type, data }: StoredEvent): NewEvent | undefined {
  const parsed = Object.hasOwn(eventData, type) ? eventData[type].safeParse(data) : undefined;
  return parsed?.success ? ({ type, data: parsed.data } as NewEvent) : undefined;
}

function lines(event: NewEvent, tookMs: number, paint: Paint): string[] {
  switch (event.type) {
    case 'task.created':
      return [paint('dim', `workspace ${event.data.workspace}`)];
    case 'turn.queued':
      return [`${paint('cyan', '❯')} ${clip(event.data.prompt, shownColumns)}`];
    case 'turn.started':
      return [paint('dim', startLine(event.data))];
    case 'message.added':
      return [indent(harmless(event.data.text).trimEnd(), event.data.parentCallId ? '    ' : '')];
    case 'thought.added':
      return indentAll(head(event.data.text, shownLines), '  ').map((line) => paint('dim', line));
    case 'tool.called':
      if (event.data.via === 'mcp') return []; // the executor tells of it as well
      return [
        `${event.data.parentCallId ? '    ' : ''}${paint('cyan', '▸')} ${paint('bold', clip(event.data.name, 60))} ${inputInShort(event.data.input)}`,
      ];
    case 'tool.finished':
      if (event.data.via === 'mcp') return [];
      return result(event.data, paint);
    case 'tool.interrupted':
      return [paint('yellow', `a tool was interrupted (${event.data.reason.replaceAll('_', ' ')})`)];
    case 'usage.reported':
      return [paint('dim', usageLine(event.data))];
    case 'retry.announced':
      return [paint('yellow', retryLine(event.data))];
    case 'warning.raised':
      return [paint('yellow', `warning: ${clip(event.data.message, shownColumns)}`)];
    case 'executor.unparsed':
      return [paint('dim', `the executor printed: ${clip(event.data.text, shownColumns)}`)];
    case 'turn.stopping':
      return [paint('dim', `ending the turn (${event.data.cause})`)];
    case 'turn.ended':
      return ending(event.data, tookMs, paint);
    case 'turn.handed_over':
      return [paint('dim', `told of ${event.data.turns.length} earlier turns in the workspace`)];
    case 'turn.waiting':
      return [paint('dim', `waiting: ${event.data.reason.replaceAll('_', ' ')}`)];
    case 'task.deleted':
      return [paint('dim', 'the task was deleted')];
    case 'plan.updated':
      return event.data.entries.map(({ text, status }) =>
        paint('dim', `  ${{ pending: '☐', in_progress: '◐', completed: '☑' }[status]} ${clip(text, shownColumns)}`),
      );
    case 'message.delta': // the whole message follows
    case 'tool.output':
    case 'executor.session':
    case 'turn.running':
    case 'policy.changed':
    case 'credential.changed':
    case 'credential.refreshed':
    case 'event.erased':
      return [];
  }
}

function startLine({ executor, version, model, provider, resumes }: Data<'turn.started'>): string {
  const who = [executor, version].filter(Boolean).join(' ');
  const how = [
    model,
    provider === 'offline' && 'answered by the offline model (scripted)',
    resumes && 'goes on with its conversation',
  ];
  return [who, ...how.filter(Boolean)].join(', ');
}

function result({ outcome, output, exitCode }: Data<'tool.finished'>, paint: Paint): string[] {
  const text = harmless(output).trimEnd();
  const code = exitCode === undefined ? '' : ` (exit ${exitCode})`;
  if (outcome === 'error') return [`  ${paint('red', `✗${code}`)} ${head(text, shownLines).join('\n    ')}`.trimEnd()];
  return text === '' ? [] : indentAll(head(text, shownLines), '  ').map((line) => paint('dim', line));
}

function usageLine({
  model,
  inputTokens,
  outputTokens,
  cacheReadTokens,
  cacheWriteTokens,
  costUsd,
}: Data<'usage.reported'>): string {
  const number = (count: number): string => count.toLocaleString('en-US');
  const cache =
    cacheReadTokens + cacheWriteTokens > 0
      ? `, cache ${number(cacheReadTokens)} read ${number(cacheWriteTokens)} written`
      : '';
  const cost = costUsd === undefined ? '' : `, $${costUsd.toFixed(4)} as the executor reckons`;
  return `usage${model === undefined ? '' : ` of ${model}`}: ${number(inputTokens)} tokens in, ${number(outputTokens)} out${cache}${cost}`;
}

function retryLine({ attempt, maxAttempts, delayMs, httpStatus, message }: Data<'retry.announced'>): string {
  const which = maxAttempts === undefined ? `${attempt}` : `${attempt} of ${maxAttempts}`;
  const when = delayMs === undefined ? '' : ` in ${duration(delayMs)}`;
  const status = httpStatus === undefined ? '' : `HTTP ${httpStatus}, `;
  return `retry ${which}${when}: ${status}${clip(message, shownColumns)}`;
}

function ending({ outcome, reason, evidence }: Data<'turn.ended'>, tookMs: number, paint: Paint): string[] {
  const after = ` after ${duration(tookMs)}`;
  if (outcome === 'succeeded') return [paint('green', `✓ succeeded${after}`)];
  return [
    `${paint('red', `✗ ${outcome}: ${reason}`)}${after}: ${meaningOf(outcome, reason).replaceAll('`', '')}`,
    ...indentAll(evidenceLines(evidence), '  '),
  ];
}

function evidenceLines({
  exit,
  exitCode,
  signal,
  httpStatus,
  message,
  terminal,
  swept,
  oomKills,
  saidResult,
}: Evidence): string[] {
  const facts = [
    exit === 'unknown' && 'nobody saw the executor end',
    typeof exitCode === 'number' && `exit code ${exitCode}`,
    signal && `signal ${signal}`,
    httpStatus !== undefined && `HTTP ${httpStatus}`,
    oomKills && `${oomKills} out-of-memory kills`,
    swept && `${swept} processes swept`,
    saidResult === false && 'no final result',
  ].filter((fact) => typeof fact === 'string' && fact !== '');
  const said = message === undefined ? [] : [`it said: ${clip(message, 400)}`];
  const last = terminal?.trim() ? ['last on its terminal:', ...indentAll(head(lastLines(terminal, 12), 12), '  ')] : [];
  return [...(facts.length > 0 ? [facts.join(', ')] : []), ...said, ...last];
}

/** What matters of a tool's input: the field that says it, else all of it as JSON. */
function inputInShort(input: unknown): string {
  if (typeof input === 'string') return clip(input, 120);
  if (typeof input !== 'object' || input === null) return '';
  const fields = new Map<string, unknown>(Object.entries(input));
  for (const name of ['command', 'file_path', 'path', 'pattern', 'query', 'url', 'description', 'prompt']) {
    const value = fields.get(name);
    if (typeof value === 'string') return clip(value, 120);
  }
  return fields.size === 0 ? '' : clip(JSON.stringify(input), 120);
}

function head(text: string, maxLines: number): string[] {
  const all = harmless(text).trimEnd().split('\n');
  const shown = all
    .slice(0, maxLines)
    .map((line) => (line.length > shownColumns ? `${line.slice(0, shownColumns - 1)}…` : line));
  return all.length > maxLines ? [...shown, `… ${all.length - maxLines} more lines`] : shown;
}

function lastLines(text: string, count: number): string {
  return text.trim().split('\n').slice(-count).join('\n');
}

function indent(text: string, by: string): string {
  return by === '' ? text : indentAll(text.split('\n'), by).join('\n');
}

function indentAll(all: readonly string[], by: string): string[] {
  return all.map((line) => `${by}${line}`);
}
