import path from 'node:path';

/** The environment as it was before npm ran this script: what harnessd and its executors get. */
export function environmentWithoutNpm(env) {
  const kept = Object.entries(env).filter(([name]) => !name.startsWith('npm_'));
  const before = Object.fromEntries(kept);
  if (env.npm_lifecycle_event === undefined) return before;
  for (const name of ['INIT_CWD', 'NODE', 'COLOR']) delete before[name];
  before.PATH = withoutNpmFolders(env.PATH || '');
  return before;
}

/** The same, with the user's settings of npm (registry, proxy, cache), for installs. */
export function environmentForNpm(env, npmCli) {
  const isLocal = /^npm_config_(local_prefix|global_prefix|prefix|node_gyp|npm_version)$/;
  const settings = Object.entries(env).filter(([name]) => name.startsWith('npm_config_') && !isLocal.test(name));
  return { ...environmentWithoutNpm(env), ...Object.fromEntries(settings), npm_execpath: npmCli };
}

/** npm puts its own folders in front; one that the user put elsewhere in PATH stays. */
function withoutNpmFolders(searchPath) {
  const folders = searchPath.split(path.delimiter);
  const first = folders.findIndex((folder) => !/[\\/](node_modules[\\/]\.bin|node-gyp-bin)$/.test(folder));
  return folders.slice(Math.max(first, 0)).join(path.delimiter);
}
