import { delimiter, join } from 'node:path';
import { Secret } from '../base/secret.ts';

/** What an executor inherits from the daemon's environment; nothing else does. */
const inherited = [
  'PATH',
  'USER',
  'LOGNAME',
  'SHELL',
  'LANG',
  'LANGUAGE',
  'TZ',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'NODE_EXTRA_CA_CERTS',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
] as const;

type Environment = Readonly<Record<string, string | undefined>>;

interface ChildEnvOptions {
  readonly daemonEnv: Environment;
  readonly home: string;
  readonly tmpDir: string;
  /** What the turn was given; the plan's own variables win over it. */
  readonly given: Readonly<Record<string, string | Secret>>;
  readonly plan: Readonly<Record<string, string | Secret>>;
}

/** The whole environment of an executor: an allow-list, the computer's HOME, the turn's TMPDIR, and what its plan says. */
export function childEnv({ daemonEnv, home, tmpDir, given, plan }: ChildEnvOptions): Record<string, string> {
  const env: Record<string, string> = { HOME: home, TMPDIR: tmpDir, TERM: 'xterm-256color', COLORTERM: 'truecolor' };
  for (const [name, value] of Object.entries(daemonEnv)) {
    if (value !== undefined && (inherited.includes(name as (typeof inherited)[number]) || name.startsWith('LC_')))
      env[name] = value;
  }
  env['PATH'] = withLocalBin(env['PATH'], home);
  if (Object.keys(env).some((name) => /^https?_proxy$/i.test(name))) withoutProxyAtHome(env);
  for (const [name, value] of Object.entries({ ...given, ...plan }))
    env[name] = value instanceof Secret ? value.open() : value;
  return env;
}

/** What one turn puts into `~/.local/bin`, the next one finds. */
function withLocalBin(path = '/usr/local/bin:/usr/bin:/bin', home: string): string {
  const local = join(home, '.local', 'bin');
  return path.split(delimiter).includes(local) ? path : `${local}${delimiter}${path}`;
}

/** harnessd's tools, its offline model and most proxies of models are on this machine: no web proxy leads there. */
function withoutProxyAtHome(env: Record<string, string>): void {
  const known = (env['NO_PROXY'] ?? env['no_proxy'] ?? '').split(',').filter(Boolean);
  const all = [...new Set([...known, '127.0.0.1', 'localhost', '::1'])].join(',');
  Object.assign(env, { NO_PROXY: all, no_proxy: all });
}

/** What the address of a web proxy tells besides: executors inherit it, and may print it. */
export function proxyPasswords(env: Environment): Secret[] {
  return Object.entries(env).flatMap(([name, value]) => {
    if (!/^https?_proxy$/i.test(name) || value === undefined || !URL.canParse(value)) return [];
    const { password } = new URL(value);
    return password === '' ? [] : [new Secret(decodeURIComponent(password)), new Secret(password)];
  });
}
