// What `ready` is compared with: a process that loads the daemon's four large packages and does nothing with them.
import { enableCompileCache } from 'node:module';

enableCompileCache(process.argv[2]);
for (const name of ['ws', 'pino', 'better-sqlite3', 'zod']) await import(name);
process.stderr.write('{"msg":"ready"}\n');
process.exit(0);
