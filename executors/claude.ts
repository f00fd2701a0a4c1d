import { join } from 'node:path';
import { z } from 'zod';
import {
  defineExecutor,
  type Evidence,
  type ExecutorEvent,
  type Exit,
  type ParsedEnding,
  type Reason,
  type Step,
} from '../src/kit/executor.ts';
import { jsonLine } from '../src/kit/json-line.ts';
import { Line, type AssistantBlock, type ModelUsage, type Result, type ToolOutput } from './claude-output.ts';

interface State {
  /** The last one counts: a background task makes the CLI give a result, go on, and give another. */
  readonly result: Result | undefined;
  /** The retry announced last, unless an answer came since. */
  readonly retryStatus: number | null | undefined;
  /** The model has begun an answer that no tool result or final result has followed. */
  readonly isAnswering: boolean;
}

const mcpFile = 'harnessd-mcp.json';
const credentialFile = '.credentials.json';
const variables = {
  credits: 'ANTHROPIC_AUTH_TOKEN',
  api_key: 'ANTHROPIC_API_KEY',
  oauth: 'CLAUDE_CODE_OAUTH_TOKEN',
} as const;

export const claude = defineExecutor<State>({
  id: 'claude',
  title: 'Claude Code',
  program: {
    binaries: {
      'linux-x64': '@anthropic-ai/claude-code-linux-x64/claude',
      'linux-arm64': '@anthropic-ai/claude-code-linux-arm64/claude',
      'linux-x64-musl': '@anthropic-ai/claude-code-linux-x64-musl/claude',
      'linux-arm64-musl': '@anthropic-ai/claude-code-linux-arm64-musl/claude',
      'darwin-x64': '@anthropic-ai/claude-code-darwin-x64/claude',
      'darwin-arm64': '@anthropic-ai/claude-code-darwin-arm64/claude',
    },
  },
  provider: 'anthropic',
  modes: ['credits', 'api_key', 'oauth'],
  defaultModel: 'claude-sonnet-4.6',
  credentialVariables: variables,
  credentialFile,
  baseUrlVariable: 'ANTHROPIC_BASE_URL',
  stopSignal: 'SIGINT', // only then does it give a last result, with what was used
  conversation: (session) => `projects/*/${session}.jsonl`,

  plan: ({ prompt, model, resume, credential, mcp, configDir, tmpDir }) => ({
    args: [
      '--print',
      '--output-format',
      'stream-json',
      '--verbose',
      '--dangerously-skip-permissions',
      '--mcp-config',
      join(configDir, mcpFile),
      '--strict-mcp-config', // no server but those that it is given by file, whatever the workspace names
      '--model',
      model,
      ...(resume === undefined ? [] : ['--resume', resume]),
    ],
    env: {
      CLAUDE_CONFIG_DIR: configDir,
      CLAUDE_CODE_TMPDIR: tmpDir,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      CLAUDE_CODE_MAX_RETRIES: '3', // its own default of 10 keeps a turn for three minutes at a door that is shut
      DISABLE_AUTOUPDATER: '1',
      IS_SANDBOX: '1', // as root it refuses to run without asking, unless told that the machine is its own
      ENABLE_TOOL_SEARCH: 'false', // else the tools of MCP servers are hidden behind a search
      // Whatever it would ask another model for, a sub-agent or a title, it asks the turn's own.
      ANTHROPIC_DEFAULT_OPUS_MODEL: model,
      ANTHROPIC_DEFAULT_SONNET_MODEL: model,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
      ANTHROPIC_DEFAULT_FABLE_MODEL: model,
      ANTHROPIC_SMALL_FAST_MODEL: model,
      CLAUDE_CODE_SUBAGENT_MODEL: model,
      ...(!credential.isFile && { [variables[credential.mode]]: credential.value }),
      ...(credential.baseUrl !== undefined && { ANTHROPIC_BASE_URL: credential.baseUrl }),
    },
    files: {
      [mcpFile]: JSON.stringify({
        mcpServers: {
          [mcp.name]: { type: 'http', url: mcp.url, headers: { Authorization: `Bearer ${mcp.token.open()}` } },
        },
      }),
      ...(credential.isFile && { [credentialFile]: credential.value.open() }),
    },
    stdin: prompt,
  }),

  parser: {
    start: () => ({ result: undefined, retryStatus: undefined, isAnswering: false }),
    line: jsonLine<State, Line>(Line, fold),
    end,
  },
});

function fold(state: State, line: Line): Step<State> {
  switch (line.type) {
    case 'system':
      return foldSystem(state, line);
    case 'assistant': {
      const parent = line.parent_tool_use_id ? { parentCallId: line.parent_tool_use_id } : {};
      if (line.message.model === '<synthetic>') return { state, events: line.message.content.flatMap(synthetic) };
      const { id } = line.message;
      const from = { ...(id !== undefined && { messageId: id }), ...parent };
      return {
        state: { ...state, retryStatus: undefined, isAnswering: true },
        events: line.message.content.flatMap((block) => said(block, from, parent)),
      };
    }
    case 'user': {
      const blocks = typeof line.message.content === 'string' ? [] : line.message.content;
      const events = blocks.flatMap(
        (block): ExecutorEvent[] =>
          block.type === 'tool_result'
            ? [
                {
                  type: 'tool.finished',
                  data: {
                    callId: block.tool_use_id,
                    outcome: block.is_error ? 'error' : 'ok',
                    ...outputOf(block.content, block.is_error),
                  },
                },
              ]
            : [], // text is the CLI's own: an interruption, or a request to go on after a cut
      );
      return { state: events.length > 0 ? { ...state, isAnswering: false } : state, events };
    }
    case 'rate_limit_event':
      return { state, events: [] };
    case 'result': {
      const usage = Object.entries(line.model_usage_since_last_result ?? line.modelUsage);
      return { state: { ...state, result: line }, events: usage.map(([model, used]) => usageOf(model, used)) };
    }
  }
}

function foldSystem(state: State, line: Extract<Line, { type: 'system' }>): Step<State> {
  switch (line.subtype) {
    case 'init': {
      const { session_id: sessionId, model, claude_code_version: version } = line;
      return {
        state,
        events: [
          { type: 'executor.session', data: { sessionId, ...(model && { model }), ...(version && { version }) } },
        ],
      };
    }
    case 'api_retry': {
      const { attempt, max_retries: maxAttempts, retry_delay_ms: delayMs, error_status: status, error } = line;
      return {
        state: { ...state, retryStatus: status ?? null },
        events: [
          {
            type: 'retry.announced',
            data: {
              attempt,
              ...(maxAttempts !== undefined && { maxAttempts }),
              ...(delayMs !== undefined && { delayMs }),
              ...(status && { httpStatus: status }),
              message: error ?? 'unknown',
            },
          },
        ],
      };
    }
    case 'permission_denied':
      return {
        state,
        events: [
          {
            type: 'warning.raised',
            data: { code: 'permission_denied', message: `${line.tool_name}: ${line.message}` },
          },
        ],
      };
    case 'compact_boundary':
      return {
        state,
        events: [
          {
            type: 'warning.raised',
            data: { code: 'conversation_compacted', message: 'the conversation was shortened to fit the model' },
          },
        ],
      };
    default:
      return { state, events: [] };
  }
}

/** A message that the CLI made up in the model's place: it tells of an error. */
function synthetic(block: AssistantBlock): ExecutorEvent[] {
  return block.type === 'text'
    ? [{ type: 'warning.raised', data: { code: 'executor_notice', message: block.text } }]
    : [];
}

function said(
  block: AssistantBlock,
  from: { messageId?: string; parentCallId?: string },
  parent: { parentCallId?: string },
): ExecutorEvent[] {
  switch (block.type) {
    case 'text':
      return [{ type: 'message.added', data: { text: block.text, ...from } }];
    case 'thinking':
      return [{ type: 'thought.added', data: { text: block.thinking, ...from } }];
    case 'redacted_thinking':
      return [];
    case 'tool_use':
      return [{ type: 'tool.called', data: { callId: block.id, name: block.name, input: block.input, ...parent } }];
  }
}

/** The Bash tool puts a failed command's exit code on the first line of its output. */
function outputOf(
  content: z.infer<typeof ToolOutput> | undefined,
  isError: boolean | null | undefined,
): { output: string; exitCode?: number } {
  const output = typeof content === 'string' ? content : (content ?? []).map(textOf).join('\n');
  const exitCode = isError ? /^Exit code (\d+)$/m.exec(output.split('\n', 1)[0]!)?.[1] : undefined;
  return { output, ...(exitCode !== undefined && { exitCode: Number(exitCode) }) };
}

const TextBlock = z.object({ type: z.literal('text'), text: z.string() });

function textOf(block: unknown): string {
  const text = TextBlock.safeParse(block);
  return text.success ? text.data.text : JSON.stringify(block);
}

function usageOf(model: string, used: z.infer<typeof ModelUsage>): ExecutorEvent {
  return {
    type: 'usage.reported',
    data: {
      model,
      inputTokens: used.inputTokens,
      outputTokens: used.outputTokens,
      cacheReadTokens: used.cacheReadInputTokens,
      cacheWriteTokens: used.cacheCreationInputTokens,
      ...(used.costUSD !== undefined && { costUsd: used.costUSD }),
    },
  };
}

/** `subtype` is "success" even for errors, and the exit code is 0 after SIGINT: `is_error` and the exit decide together. */
function end(state: State, exit: Exit): ParsedEnding {
  const { result, retryStatus } = state;
  if (result && !result.is_error && exit.code === 0)
    return { ending: { outcome: 'succeeded', reason: 'completed' }, evidence: { saidResult: true } };
  const status = result?.api_error_status ?? retryStatus ?? undefined;
  const message = messageOf(result);
  const evidence: Evidence = {
    saidResult: result !== undefined,
    ...(status !== undefined && { httpStatus: status }),
    ...(message && { message }),
  };
  return {
    ending: {
      outcome: 'failed',
      reason: status === undefined ? reasonWithoutStatus(state, exit) : reasonOfStatus(status),
    },
    evidence,
  };
}

function messageOf(result: Result | undefined): string | undefined {
  return result?.result || result?.errors?.join('; ');
}

function reasonWithoutStatus({ result, retryStatus, isAnswering }: State, { code, signal }: Exit): Reason<'failed'> {
  const isCut = isAnswering || /mid-response|API was lost|JSON Parse|StreamTruncated/.test(messageOf(result) ?? '');
  if (retryStatus === null || result?.terminal_reason === 'api_error')
    return isCut ? 'stream_cut' : 'provider_unreachable';
  const wasKilled = signal !== null || (code !== null && code > 128) || result?.terminal_reason?.startsWith('aborted');
  if (wasKilled) return 'executor_killed';
  return result?.is_error ? 'executor_error' : 'executor_exited';
}

function reasonOfStatus(status: number): Reason<'failed'> {
  switch (status) {
    case 401:
    case 403:
      return 'auth';
    case 402:
      return 'billing';
    case 404:
      return 'model_not_found';
    case 429:
      return 'rate_limited';
    default:
      return status < 500 ? 'invalid_request' : 'provider_error';
  }
}
