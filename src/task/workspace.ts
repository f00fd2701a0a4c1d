import { access, constants, realpath, stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { DaemonError } from '../protocol/errors.ts';

/** The real path of a directory that can be worked in; throws `workspace_invalid`. */
export async function checkedWorkspace(path: string): Promise<string> {
  const refuse = (why: string, cause?: unknown): DaemonError =>
    new DaemonError('workspace_invalid', `workspace ${path}: ${why}`, { data: { path: 'workspace' }, cause });
  if (path.includes('\0') || !isAbsolute(path)) throw refuse('must be an absolute path');
  const found = await stat(path).catch((error: unknown) => {
    throw refuse('does not exist', error);
  });
  if (!found.isDirectory()) throw refuse('is not a directory');
  await access(path, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw refuse('cannot be written', error);
  });
  return realpath(path);
}
