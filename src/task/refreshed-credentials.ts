import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { errnoOf, writeFileAtomic } from '../base/files.ts';
import { parseJsonObject } from '../base/json.ts';
import { Secret } from '../base/secret.ts';
import type { CredentialRef } from '../protocol/payment.ts';

/** A credential file as an executor left it. */
export interface Refreshed extends CredentialRef {
  readonly refreshId: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly mode: 'oauth';
  readonly value: Secret;
}

const Kept = z.object({
  refreshId: z.string(),
  at: z.int(),
  executor: z.string(),
  member: z.string().optional(),
  value: z.string(),
});

/** Credential files that executors refreshed, the last of each: in a private file until the control plane has taken it, for the one before it is void. */
export class RefreshedCredentials {
  readonly #dir: string;
  readonly #waiting = new Map<string, Refreshed>();

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async open(dir: string): Promise<RefreshedCredentials> {
    const refreshed = new RefreshedCredentials(dir);
    const names = await readdir(dir).catch((): string[] => []); // none yet: nothing waits
    const texts = await Promise.all(
      names.filter((name) => name.endsWith('.json')).map((name) => readFile(join(dir, name), 'utf8')),
    );
    const kept = texts
      .flatMap((text) => Kept.safeParse(parseJsonObject(text)).data ?? []) // what is none of ours keeps no daemon from starting
      .toSorted((one, other) => one.at - other.at);
    for (const { value, ...rest } of kept)
      refreshed.#waiting.set(rest.refreshId, { ...rest, mode: 'oauth', value: new Secret(value) });
    return refreshed;
  }

  /** The older ones first. */
  list(): readonly Refreshed[] {
    return [...this.#waiting.values()];
  }

  /** Resolves when it is durable. Those of the same executor and member before it are void, and go. */
  async add(refreshed: Refreshed): Promise<void> {
    const { mode: _, ...rest } = refreshed;
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    await writeFileAtomic(
      this.#pathOf(refreshed.refreshId),
      JSON.stringify({ ...rest, value: refreshed.value.open() }),
    );
    this.#waiting.set(refreshed.refreshId, refreshed);
    for (const { refreshId, executor, member } of this.list()) {
      const isVoid =
        executor === refreshed.executor && member === refreshed.member && refreshId !== refreshed.refreshId;
      if (isVoid) await this.remove(refreshId);
    }
  }

  /** Whether it waited. */
  async remove(refreshId: string): Promise<boolean> {
    if (!this.#waiting.delete(refreshId)) return false;
    await rm(this.#pathOf(refreshId)).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error; // gone already, as it should be
    });
    return true;
  }

  #pathOf(refreshId: string): string {
    return join(this.#dir, `${refreshId}.json`);
  }
}
