import { randomBytes } from 'node:crypto';
import { access, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../base/files.ts';

/** The cgroup v2 directory that this process lives in, in which groups for terminals can be made; null without one. */
export async function findCgroupRoot(): Promise<string | null> {
  try {
    const own = await ownCgroup();
    if (own === null) return null;
    // Only what was tried is believed: the mount may be read-only, the kernel older than cgroup.kill (5.14).
    const trial = join(own, `harnessd-trial-${process.pid}-${randomBytes(4).toString('hex')}`);
    await mkdir(trial);
    try {
      await access(join(trial, 'cgroup.kill'));
    } finally {
      await rmdir(trial);
    }
    return own;
  } catch {
    return null;
  }
}

/** Where this process's group is visible, by the kernel's own tables: a hybrid or bind-mounted hierarchy has any path. */
async function ownCgroup(): Promise<string | null> {
  const path = (await readFile('/proc/self/cgroup', 'utf8')).match(/^0::(.*)$/m)?.[1];
  if (path === undefined) return null;
  for (const line of (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')) {
    const [mount = '', kind = ''] = line.split(' - ');
    if (!kind.startsWith('cgroup2 ')) continue;
    const [root, point] = mount.split(' ').slice(3, 5).map(unescapeMountPath);
    if (root === undefined || point === undefined) continue;
    const within = posix.relative(root, path);
    if (within !== '..' && !within.startsWith('../')) return join(point, within);
  }
  return null;
}

function unescapeMountPath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/** Makes `harnessd-<id>.<random>`: a name is used once, so that whoever ends a group by name never meets a later one. */
export async function createCgroup(root: string, id: string): Promise<string> {
  const path = join(root, `harnessd-${id}.${randomBytes(4).toString('hex')}`);
  await mkdir(path);
  return path;
}

/** All processes of a group and of the groups made inside it. Zombies are not listed by the kernel. */
export async function pidsInCgroup(path: string): Promise<number[]> {
  const groups = [path, ...(await nestedCgroups(path))];
  const lists = await Promise.all(groups.map((group) => readFile(join(group, 'cgroup.procs'), 'utf8').catch(() => '')));
  return lists.flatMap((list) => list.split('\n').filter(Boolean).map(Number));
}

/** Parents before their children. */
async function nestedCgroups(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  const children = entries.filter((entry) => entry.isDirectory()).map((entry) => join(path, entry.name));
  const deeper = await Promise.all(children.map(nestedCgroups));
  return children.flatMap((child, index) => [child, ...deeper[index]!]);
}

/** Kills all of a group at once, faster than it can fork. */
export async function killCgroup(path: string): Promise<void> {
  await writeFile(join(path, 'cgroup.kill'), '1').catch(() => undefined); // it is gone already
}

/** Removes an emptied group with those inside it. The kernel calls a group busy for a moment after its last process. */
export async function removeCgroup(path: string): Promise<boolean> {
  for (let attempt = 0; attempt < 50; attempt++) {
    for (const group of (await nestedCgroups(path)).reverse()) await rmdir(group).catch(() => undefined);
    try {
      await rmdir(path);
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return true;
      if (errnoOf(error) !== 'EBUSY') return false;
    }
    await sleep(10);
  }
  return false;
}

/** How many processes of the group the kernel killed for want of memory; null when the kernel does not count it here. */
export async function oomKills(cgroup: string | null): Promise<number | null> {
  if (cgroup === null) return null;
  const events = await readFile(join(cgroup, 'memory.events'), 'utf8').catch(() => '');
  const count = events.match(/^oom_kill (\d+)$/m)?.[1];
  return count === undefined ? null : Number(count);
}
