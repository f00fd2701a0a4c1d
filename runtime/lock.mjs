import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs `work` while no other process holds the lock. The lock is a symbolic link to its owner's pid and start time:
 * made in one step with its content, and free again once that process is gone, however it went.
 */
export async function withLock(lock, { onWait }, work) {
  fs.mkdirSync(path.dirname(lock), { recursive: true });
  const self = identityOf(process.pid);
  for (let hasWaited = false; !take(lock, self); hasWaited = true) {
    const owner = ownerOf(lock);
    if (owner === undefined) continue;
    if (!isAlive(owner)) {
      release(lock, owner);
      continue;
    }
    if (!hasWaited) onWait(pidOf(owner));
    await sleep(100);
  }
  try {
    return await work();
  } finally {
    release(lock, self);
  }
}

/** Names a process for good: a pid alone is given again to another. */
export function identityOf(pid) {
  return `${pid}-${startTimeOf(pid)}`;
}

export function isAlive(identity) {
  const pid = pidOf(identity);
  return startTimeOf(pid) !== undefined && identityOf(pid) === identity;
}

const pidOf = (identity) => Number.parseInt(identity, 10);

function startTimeOf(pid) {
  try {
    if (process.platform !== 'linux') {
      const started = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
      return started.trim().replace(/\W+/g, '.');
    }
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTicks] = [fields[0], fields[19]];
    return state === 'Z' ? undefined : startTicks;
  } catch {
    return undefined;
  }
}

function take(lock, self) {
  try {
    fs.symlinkSync(self, lock);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function ownerOf(lock) {
  try {
    return fs.readlinkSync(lock);
  } catch {
    return undefined;
  }
}

function release(lock, owner) {
  if (ownerOf(lock) === owner) fs.rmSync(lock, { force: true });
}
