import type { McpServer } from '../src/kit/executor.ts';

export const configFile = 'config.toml';
/** By which the provider's key reaches the CLI, and nothing that the CLI starts. */
export const keyVariable = 'HARNESSD_MODEL_KEY';

const vendorUrl = 'https://api.openai.com';
const providerName = 'harnessd';

type Toml = string | number | boolean | readonly Toml[] | { readonly [name: string]: Toml };

/**
 * All that the CLI is told by file. The workspace is not marked as trusted: its own `.codex/config.toml` could then start
 * other MCP servers, and show the key to every command.
 */
export function writeConfig(baseUrl: string | undefined, { name, url, token }: McpServer): string {
  return write({
    check_for_update_on_startup: false,
    allow_login_shell: false, // its start-up files would set another PATH than the turn's
    analytics: { enabled: false },
    features: {
      plugins: false,
      remote_plugin: false,
      apps: false,
      daemon_auto_start: false,
      unbounded_connection_retries: false, // else it tries for ever where nobody listens
    },
    model_provider: providerName,
    model_providers: {
      [providerName]: {
        name: providerName,
        base_url: `${(baseUrl ?? vendorUrl).replace(/\/v1$/, '')}/v1`,
        env_key: keyVariable,
        wire_api: 'responses',
        // Each of the stream's retries may wait as long as the provider wants, and has a full set of the request's.
        stream_max_retries: 1,
        request_max_retries: 4,
      },
    },
    shell_environment_policy: { exclude: [keyVariable] },
    mcp_servers: {
      [name]: {
        url,
        http_headers: { Authorization: `Bearer ${token.open()}` },
        default_tools_approval_mode: 'approve',
        startup_timeout_sec: 20,
        tool_timeout_sec: 3_600,
      },
    },
  });
}

function write(config: { readonly [name: string]: Toml }): string {
  return Object.entries(config)
    .map(([name, value]) => `${name} = ${toml(value)}\n`)
    .join('');
}

/** Strings of JSON are strings of TOML, but for DEL, which TOML wants escaped. */
function toml(value: Toml): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(', ')}]`;
  if (typeof value === 'object')
    return `{ ${Object.entries(value)
      .map(([name, field]) => `${toml(name)} = ${toml(field)}`)
      .join(', ')} }`;
  return JSON.stringify(value).replaceAll('\u007f', '\\u007f');
}
