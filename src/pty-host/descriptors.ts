import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

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

/** Places held above the last master, so that what the thread pool opens and closes lies higher than the next ones. */
const headroom = 64;
/** A start is not delayed for longer, come what may. */
const maxWaits = 20;
/** Beyond this many descriptors low ones are used again, at the price named below. */
const highest = 1000;

/**
 * Keeps the descriptors below the newest terminal's master without a gap. node-pty's shipped build marks descriptors to be
 * closed at the exec one after the other and, beyond 15, stops at the first that is not open; the child's own master is
 * such a gap. So each new master has to lie above all others, and what lies between is held: else the masters above the
 * gap would be left open in the child.
 */
export class Descriptors {
  /** Node's own, which stay. */
  readonly #first = new Set(openDescriptors());
  readonly #isNeeded = this.#first.size > 0; // elsewhere node-pty closes them in another way
  readonly #held = new Set<number>();
  readonly #masters = new Set<number>();

  constructor() {
    this.#hold(); // so that the sockets lie higher
  }

  /** Waits while a file that the thread pool closes in the next moment lies among the masters. Fork in the same tick. */
  async settle(): Promise<void> {
    for (let waits = 0; waits < maxWaits; waits++) {
      this.#hold();
      const strangers = openDescriptors().filter((fd) => fd < this.#top && !this.#isKnown(fd));
      if (!strangers.some(isShortLived)) return;
      await sleep(1);
    }
  }

  /** Runs something that opens a master, opens its slave, and forks. */
  fork<Forked extends { readonly fd: number }>(fork: () => Forked): Forked {
    this.#hold();
    const top = this.#top;
    const free = top < highest ? [...this.#held].filter((fd) => fd > top) : [...this.#held];
    for (const fd of free.sort((a, b) => a - b).slice(0, 2)) this.#release(fd);
    const forked = fork();
    this.#masters.add(forked.fd);
    this.#hold();
    return forked;
  }

  /** A master was closed. */
  closed(master: number): void {
    this.#masters.delete(master);
    this.#hold();
  }

  #isKnown(fd: number): boolean {
    return this.#held.has(fd) || this.#masters.has(fd) || this.#first.has(fd);
  }

  get #top(): number {
    return Math.max(15, ...this.#masters);
  }

  #hold(): void {
    if (!this.#isNeeded) return;
    const last = this.#top + headroom;
    let fd = openPlace(); // takes the lowest that is free
    for (; fd <= last; fd = openPlace()) this.#held.add(fd);
    closeSync(fd);
    for (const unneeded of [...this.#held].filter((place) => place > last + headroom)) this.#release(unneeded);
  }

  #release(fd: number): void {
    this.#held.delete(fd);
    closeSync(fd);
  }
}

function openPlace(): number {
  return openSync('/dev/null', 'r');
}

/** None where the system has no such listing. */
function openDescriptors(): number[] {
  try {
    return readdirSync(listing).map(Number);
  } catch {
    return [];
  }
}

/** All but sockets, Node's own, and the files of a journal. */
function isShortLived(fd: number): boolean {
  try {
    return !/^(socket|pipe|anon_inode):|\.(seg|idx)$/.test(readlinkSync(`${listing}/${fd}`));
  } catch {
    return true; // closed in this moment: look again
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
