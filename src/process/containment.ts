import { createCgroup, findCgroupRoot } from './cgroup.ts';
import { endTree, type Ended, type EndOptions } from './end-tree.ts';
import type { ProcessRow } from './identity.ts';
import { commandOf } from './process-table.ts';
import { membersOf, type ProcessTree } from './tree.ts';

/** How firmly a terminal's processes are held together; a PID namespace may come between these two. */
export type ContainmentLevel = 'cgroup' | 'weak';
export const containmentModes = ['auto', 'cgroup', 'weak'] as const;
export type ContainmentMode = (typeof containmentModes)[number];

export type Child = ProcessRow & { readonly command: readonly string[] };

/** Finds the best level that this machine allows, or the one that is asked for. */
export async function findContainment(mode: ContainmentMode): Promise<Containment> {
  const root = mode === 'weak' ? null : await findCgroupRoot();
  if (mode === 'cgroup' && root === null) {
    throw new Error('Containment by cgroup was asked for, but no writable cgroup v2 with cgroup.kill was found');
  }
  return new Containment(root);
}

/** Keeps together what a terminal starts, so that all of it can be found and ended. A tree's own cgroup decides how. */
export class Containment {
  readonly level: ContainmentLevel;
  readonly #root: string | null;

  constructor(cgroupRoot: string | null) {
    this.#root = cgroupRoot;
    this.level = cgroupRoot === null ? 'weak' : 'cgroup';
  }

  /** Makes room for one terminal's processes. `end` removes it. */
  async prepare(id: string): Promise<{ readonly cgroup: string | null }> {
    return { cgroup: this.#root === null ? null : await createCgroup(this.#root, id) };
  }

  async members(tree: ProcessTree): Promise<number[]> {
    return (await membersOf(tree)).map((row) => row.pid);
  }

  /** Whether anything but the leader lives, apart from `except` (a CLI's MCP servers). */
  async liveChildren(tree: ProcessTree, except: (child: Child) => boolean = () => false): Promise<boolean> {
    for (const row of await membersOf(tree)) {
      if (row.pid === tree.leader?.pid) continue;
      if (!except({ ...row, command: await commandOf(row.pid) })) return true;
    }
    return false;
  }

  end(tree: ProcessTree, options: EndOptions): Promise<Ended> {
    return endTree(tree, options);
  }
}
