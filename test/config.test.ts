import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../src/config/load.ts';
import { describeOptions } from '../src/config/options.ts';
import { Config } from '../src/config/schema.ts';
import { DaemonError } from '../src/protocol/errors.ts';

function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'harnessd-config-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function write(folder: string, name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

function messageOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(DaemonError);
    expect((error as DaemonError).code).toBe('config_invalid');
    return (error as DaemonError).message;
  }
  throw new Error('nothing was thrown');
}

const env = { HOME: '/home/me' };

describe('the configuration', () => {
  test('is the defaults when nothing says otherwise', () => {
    expect(loadConfig({ env, flags: {} })).toEqual(Config.parse({ stateDir: '/home/me/.local/state/harnessd' }));
  });

  test('takes each option from the file, the environment and flags: a later one wins', () => {
    const folder = createFolder();
    const file = write(folder, 'c.json', {
      listen: { port: 1, host: '::1' },
      turn: { idleMs: 1, graceMs: 1 },
      limits: { peers: 3 },
    });

    const config = loadConfig({
      file,
      env: { ...env, HARNESSD_TURN_IDLE_MS: '2', HARNESSD_TURN_GRACE_MS: '2', HARNESSD_LISTEN_PORT: '' },
      flags: { 'turn.graceMs': '3', stateDir: '/s' },
    });

    expect(config).toEqual(
      Config.parse({
        stateDir: '/s',
        listen: { port: 1, host: '::1' },
        turn: { idleMs: 2, graceMs: 3 },
        limits: { peers: 3 },
      }),
    );
  });

  test('has every option under three names that lead to the same value', () => {
    const values: Record<string, string> = { containment: 'weak', offlineModel: 'auto', 'log.level': 'debug' };
    for (const { key, env: variable, type } of describeOptions()) {
      const some: Record<string, string> = { path: '/some/path', URL: 'https://example.org/x' };
      const value = values[key] ?? some[type] ?? (type.startsWith('integer') ? '17' : 'some,words');
      const byFlag = loadConfig({ env, flags: { [key]: value } });
      const byVariable = loadConfig({ env: { ...env, [variable]: value }, flags: {} });
      expect(byVariable, variable).toEqual(byFlag);
      expect(byFlag, key).not.toEqual(loadConfig({ env, flags: {} }));
    }
  });

  test('is found as config.json in the state directory, or where HARNESSD_CONFIG says', () => {
    const folder = createFolder();
    write(folder, 'config.json', { listen: { port: 5 } });
    const other = write(folder, 'other.json', { listen: { port: 6 } });

    const found = loadConfig({ env: { ...env, HARNESSD_STATE_DIR: folder }, flags: {} });
    const named = loadConfig({ env: { ...env, HARNESSD_STATE_DIR: folder, HARNESSD_CONFIG: other }, flags: {} });

    expect([found.listen.port, named.listen.port]).toEqual([5, 6]);
  });

  test('has paths relative to their file, else to the current directory', () => {
    const folder = createFolder();
    const file = write(folder, 'c.json', { credentials: { file: 'keys.json' } });

    const config = loadConfig({ file, env, flags: { stateDir: 'state', home: '~' } });

    expect([config.credentials.file, config.stateDir, config.home]).toEqual([
      join(folder, 'keys.json'),
      resolve('state'),
      resolve('~'),
    ]);
  });
});

describe('an error in the configuration names its key and where it stands', () => {
  const file = (content: unknown): string => write(createFolder(), 'c.json', content);
  const cases: [what: string, sources: () => Partial<Parameters<typeof loadConfig>[0]>, message: RegExp][] = [
    [
      'a wrong number in the file',
      () => ({ file: file({ listen: { port: 'x' } }) }),
      /^listen\.port in \/.*c\.json is "x": .*expected number/,
    ],
    [
      'true for a number',
      () => ({ file: file({ listen: { port: true } }) }),
      /^listen\.port in .* is true: .*expected number/,
    ],
    [
      'a number out of range',
      () => ({ env: { ...env, HARNESSD_LISTEN_PORT: '70000' } }),
      /^HARNESSD_LISTEN_PORT \(listen\.port\) is "70000": Too big.*65535/,
    ],
    [
      'a word of no list',
      () => ({ flags: { containment: 'strong' } }),
      /^--containment \(containment\) is "strong": .*"auto"\|"cgroup"\|"weak"/,
    ],
    [
      'a list with a number in it',
      () => ({ file: file({ listen: { allowedHosts: [1] } }) }),
      /^listen\.allowedHosts in .* is \[1\]/,
    ],
    [
      'an unknown key',
      () => ({ file: file({ listen: { prot: 1 } }) }),
      /^unknown key listen\.prot in \/.*c\.json; did you mean listen\.port\?$/,
    ],
    ['an unknown section', () => ({ file: file({ lisen: { port: 1 } }) }), /^unknown key lisen in/],
    ['a value for a section', () => ({ file: file({ listen: 7 }) }), /^listen in \/.*c\.json is a section: .*, not 7$/],
    [
      'an unknown variable',
      () => ({ env: { ...env, HARNESSD_LISTEN_PROT: '1' } }),
      /^unknown environment variable HARNESSD_LISTEN_PROT; did you mean HARNESSD_LISTEN_PORT\?$/,
    ],
    ['a file that is no JSON', () => ({ file: file('{"listen": }') }), /c\.json is not JSON: /],
    ['a file that is no object', () => ({ file: file([]) }), /c\.json must hold one JSON object$/],
    ['a file that is not there', () => ({ file: '/nowhere/c.json' }), /\/nowhere\/c\.json cannot be read \(ENOENT\)$/],
    [
      'a state directory too long for sockets',
      () => ({ flags: { stateDir: `/${'x'.repeat(80)}` } }),
      /^--state-dir: .* has 81 bytes.*80 at most/,
    ],
  ];

  test.for(cases)('%s', ([, sources, message]) => {
    expect(messageOf(() => loadConfig({ env, flags: {}, ...sources() }))).toMatch(message);
  });

  test('the file in the state directory cannot move the state directory', () => {
    const folder = createFolder();
    write(folder, 'config.json', { stateDir: '/elsewhere' });
    expect(messageOf(() => loadConfig({ env, flags: { stateDir: folder } }))).toMatch(
      /^stateDir in .*config\.json: .*use --config$/,
    );
  });
});
