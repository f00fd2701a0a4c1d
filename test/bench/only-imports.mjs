// What `ready` is compared with: a process that loads the daemon's four large packages and does nothing with them.
for (const name of ['ws', 'pino', 'better-sqlite3', 'zod']) await import(name);
process.stderr.write('{"msg":"ready"}\n');
process.exit(0);
