import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { configurationPage } from './configuration-page.ts';
import { exitCodes, print, type Context } from './context.ts';
import { protocolPage } from './protocol-page.ts';

const pages: Readonly<Record<string, () => string>> = {
  'protocol.md': protocolPage,
  'configuration.md': configurationPage,
};

/** Pages of docs/ that are not what the schemas say. */
export async function stalePages(productDir: string): Promise<string[]> {
  const stale = await Promise.all(
    Object.entries(pages).map(async ([name, page]) => {
      const written = await readFile(join(productDir, 'docs', name), 'utf8').catch(() => undefined); // none: stale
      return written === page() ? [] : [name];
    }),
  );
  return stale.flat();
}

/** `harnessd docs`: writes the pages that are made from the schemas, or with `check` says which are stale. */
export async function docs(context: Context, { check }: { check?: boolean }): Promise<number> {
  const stale = await stalePages(context.productDir);
  for (const name of stale) {
    if (!check) await writeFile(join(context.productDir, 'docs', name), pages[name]!());
    print(context, check ? `docs/${name} is stale: run "runtime/harnessd docs"` : `wrote docs/${name}`);
  }
  return check && stale.length > 0 ? exitCodes.failure : exitCodes.success;
}
