import { open } from 'node:fs/promises';
import { z } from 'zod';
import { Secret } from '../base/secret.ts';
import type { Credential, Executor } from '../kit/executor.ts';
import { DaemonError } from '../protocol/errors.ts';
import { paymentModes, type PaymentMode } from '../protocol/payment.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** By executor: the variables that its CLI knows, as in `{"claude": {"ANTHROPIC_API_KEY": "…"}}`. */
const CredentialsFile = z.record(z.string(), z.record(z.string(), z.string().min(1)));

/** The computer's own credentials: from a private file, else from the environment that the daemon was started with. */
export class ProviderCredentials {
  readonly #byExecutor: ReadonlyMap<string, ReadonlyMap<PaymentMode, Credential>>;
  /** Every value that was found, those that are not used among them: none may be told. */
  readonly all: readonly Secret[];

  private constructor(byExecutor: ReadonlyMap<string, ReadonlyMap<PaymentMode, Credential>>, all: readonly Secret[]) {
    this.#byExecutor = byExecutor;
    this.all = all;
  }

  static async open(
    executors: readonly Executor[],
    env: Environment,
    file: string | undefined,
  ): Promise<ProviderCredentials> {
    const fromFile = file === undefined ? {} : await readPrivate(file);
    const found = executors.map((executor) => {
      const inFile = read(executor, fromFile[executor.id] ?? {});
      return [executor.id, inFile.size > 0 ? inFile : read(executor, env)] as const;
    });
    const all = executors.flatMap(({ id, credentialVariables }) =>
      Object.values(credentialVariables).flatMap((name) =>
        [fromFile[id]?.[name], env[name]].flatMap((value) => (value ? [new Secret(value)] : [])),
      ),
    );
    return new ProviderCredentials(new Map(found), all);
  }

  of(executor: string, mode: PaymentMode): Credential | undefined {
    return this.#byExecutor.get(executor)?.get(mode);
  }
}

function read({ credentialVariables, baseUrlVariable }: Executor, values: Environment): Map<PaymentMode, Credential> {
  const baseUrl = values[baseUrlVariable ?? ''];
  return new Map(
    paymentModes.flatMap((mode) => {
      const value = values[credentialVariables[mode] ?? '']?.trim();
      return value ? [[mode, { mode, value: new Secret(value), ...(baseUrl && { baseUrl }) }] as const] : [];
    }),
  );
}

async function readPrivate(path: string): Promise<z.infer<typeof CredentialsFile>> {
  const invalid = (why: string, cause?: unknown): DaemonError =>
    new DaemonError('config_invalid', `credentials.file: ${path} ${why}`, { cause });
  const file = await open(path, 'r').catch((error: unknown) => {
    throw invalid('cannot be read', error);
  });
  try {
    const { mode } = await file.stat();
    if ((mode & 0o077) !== 0) throw invalid(`can be read by others: chmod 600 it`);
    const parsed = CredentialsFile.safeParse(JSON.parse(await file.readFile('utf8')));
    if (!parsed.success) throw invalid('is not of the form {"claude": {"ANTHROPIC_API_KEY": "…"}}');
    return parsed.data;
  } catch (error) {
    throw error instanceof DaemonError ? error : invalid('is not JSON');
  } finally {
    await file.close();
  }
}
