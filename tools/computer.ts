import { access, constants, readFile, statfs } from 'node:fs/promises';
import { arch, availableParallelism, cpus, release, totalmem, userInfo } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { defineTool, type ComputerService } from '../src/kit/tool.ts';

/** What an agent might look for, in the order in which it is told. */
const notable = `git gh rg jq curl ssh rsync tmux sqlite3 psql ffmpeg docker podman
  node npm pnpm bun deno python3 pip uv ruby java go cargo php
  gcc clang make cmake chromium google-chrome sudo apt-get`.split(/\s+/);

/** What stays and what goes, so that an agent need not find out. */
const notes = [
  'Files, HOME and what is installed below it (~/.local, for one) stay when the turn, the task or the coding agent changes.',
  'What a turn has started ends with the turn, also in the background; TMPDIR goes with it.',
  'Turns of one workspace run one after another; those of others run at the same time, as the same user.',
];

const bytes = z.int().nonnegative();

export const computerInfo = defineTool({
  name: 'computer_info',
  summary:
    'What this computer is and offers: system, resources, workspace, programs, coding agents, tools, and what stays when a turn ends.',
  effect: 'read',
  input: z.strictObject({}),
  output: z.object({
    computerId: z.string(),
    harnessd: z.string().describe('version of the daemon'),
    system: z.object({
      platform: z.string(),
      arch: z.string(),
      kernel: z.string(),
      distribution: z.string().optional(),
    }),
    cpu: z.object({ count: z.int().positive(), model: z.string().optional() }),
    memory: z.object({ totalBytes: bytes, availableBytes: bytes }),
    disk: z.object({ path: z.string(), totalBytes: bytes, freeBytes: bytes }).describe('that of the workspace'),
    user: z.object({ name: z.string().optional(), uid: z.int().optional(), home: z.string() }),
    time: z.object({ now: z.string(), zone: z.string() }),
    containment: z.string().describe('how the end of a turn’s processes is enforced'),
    isolation: z.string().describe('what keeps turns from each other'),
    workspace: z.string().optional(),
    executors: z.array(z.object({ executor: z.string(), version: z.string().optional(), available: z.boolean() })),
    programs: z.record(z.string(), z.string()).describe('found on PATH: name and path'),
    tools: z.array(z.string()).describe('harnessd’s own, by name'),
    notes: z.array(z.string()),
  }),
  async run(_input, { services: { computer }, workspace }) {
    const [disk, distribution, programs] = await Promise.all([
      diskOf(workspace ?? computer.home),
      distributionName(),
      findPrograms(computer.path),
    ]);
    const model = cpus()[0]?.model;
    return {
      computerId: computer.computerId,
      harnessd: computer.version,
      system: { platform: process.platform, arch: arch(), kernel: release(), ...(distribution && { distribution }) },
      cpu: { count: availableParallelism(), ...(model && { model }) },
      memory: { totalBytes: totalmem(), availableBytes: process.availableMemory() },
      disk,
      user: user(computer),
      time: { now: new Date().toISOString(), zone: Intl.DateTimeFormat().resolvedOptions().timeZone },
      containment: computer.containment,
      isolation: computer.isolation,
      ...(workspace !== undefined && { workspace }),
      executors: [...computer.executors()],
      programs,
      tools: [...computer.tools()],
      notes: [...notes],
    };
  },
});

async function diskOf(path: string): Promise<{ path: string; totalBytes: number; freeBytes: number }> {
  const { blocks, bavail, bsize } = await statfs(path);
  return { path, totalBytes: blocks * bsize, freeBytes: bavail * bsize };
}

async function distributionName(): Promise<string | undefined> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => ''); // not every system has one
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1];
}

function user({ home }: ComputerService): { name?: string; uid?: number; home: string } {
  const uid = process.getuid?.();
  return { ...nameOfUser(), ...(uid !== undefined && { uid }), home };
}

function nameOfUser(): { name?: string } {
  try {
    return { name: userInfo().username };
  } catch {
    return {}; // a uid without a name, as containers have
  }
}

/** Looked for, not run: what a program says of itself may take it long. */
async function findPrograms(path: string): Promise<Record<string, string>> {
  const folders = path.split(delimiter).filter(isAbsolute);
  const found = await Promise.all(
    notable.map(async (name): Promise<[string, string][]> => {
      for (const folder of folders) if (await isExecutable(join(folder, name))) return [[name, join(folder, name)]];
      return [];
    }),
  );
  return Object.fromEntries(found.flat());
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
