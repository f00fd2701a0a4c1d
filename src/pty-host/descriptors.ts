import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';

const listing = '/proc/self/fd';

/**
 * Closes what whoever started this process left open for it. All that Node opens is closed at an exec; what is not came
 * from outside, and would be seen by every program that a terminal starts.
 */
export function closeInherited(): void {
  for (const fd of openDescriptors()) {
    if (fd > 2 && !isClosedOnExec(fd)) closeSync(fd);
  }
}

/**
 * Runs a fork of node-pty while no descriptor is missing between the first and the last. Its shipped build marks
 * descriptors to be closed at the exec one after the other and, beyond 15, stops at the first that is not open: after a
 * gap, every terminal's master would be left open in the child.
 */
export function withoutGaps<Result>(fork: () => Result): Result {
  const last = Math.max(0, ...openDescriptors());
  const fillers: number[] = [];
  try {
    while ((fillers.at(-1) ?? 0) < last) fillers.push(openSync('/dev/null', 'r')); // takes the lowest that is free
    return fork();
  } finally {
    fillers.forEach((fd) => closeSync(fd));
  }
}

/** None where the system has no such listing. */
function openDescriptors(): number[] {
  try {
    return readdirSync(listing).map(Number);
  } catch {
    return [];
  }
}

function isClosedOnExec(fd: number): boolean {
  const closeOnExec = 0o2000000;
  try {
    const flags = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').match(/^flags:\s*(\d+)$/m)?.[1] ?? '0';
    return (parseInt(flags, 8) & closeOnExec) !== 0;
  } catch {
    return true; // it was the listing's own
  }
}
