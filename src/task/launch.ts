import { randomBytes } from 'node:crypto';
import { glob, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDiskFull } from '../base/files.ts';
import { Secret } from '../base/secret.ts';
import type { Executor } from '../kit/executor.ts';
import type { Ending, Evidence } from '../protocol/events.ts';
import { DaemonError } from '../protocol/errors.ts';
import { HostError } from '../pty-host/host-error.ts';
import type { SpawnRequest } from '../pty-host/protocol.ts';
import type { TaskRow, TurnRow } from '../store/rows.ts';
import { childEnv } from './child-env.ts';
import type { TurnFiles } from './layout.ts';
import type { Provider, TurnServices } from './turn-services.ts';

/** The variable by which a turn's processes are known, wherever they went. */
export const markerName = 'HARNESSD_TURN';

/** The name of harnessd's MCP server, with which executors prefix its tools. */
const mcpName = 'harnessd';

/** A turn that ends before its executor has run. */
export class LaunchFailure extends Error {
  readonly ending: Ending;
  readonly evidence: Evidence;

  constructor(reason: Extract<Ending, { outcome: 'failed' }>['reason'], message: string) {
    super(message);
    this.ending = { outcome: 'failed', reason };
    this.evidence = { message };
  }
}

export interface Launch {
  readonly request: SpawnRequest;
  readonly provider: Provider;
  readonly version: string | undefined;
}

/** Turns a turn into a spawn request, and writes the private files that it needs, the request itself among them. */
export async function prepareLaunch(
  services: TurnServices,
  task: TaskRow,
  turn: TurnRow,
  resumes: string | undefined,
): Promise<Launch> {
  const installed = services.executor(turn.executor);
  if (!installed?.argv) {
    throw new LaunchFailure(
      'executor_unavailable',
      `${turn.executor} is not installed: ${installed?.command ?? 'it is not an executor of this harnessd'}`,
    );
  }
  const { definition, argv, version } = installed;
  const provider = await providerOf(services, definition);
  const files = services.layout.turn(turn.id);
  await openWorkspace(task);
  await files.make();

  const configDir = services.layout.configDir(task.id, definition.id);
  const prompt = await readFile(files.prompt, 'utf8');
  const mcp = {
    name: mcpName,
    url: await services.mcpUrl(),
    token: new Secret(`hdt_${randomBytes(32).toString('base64url')}`),
  };
  const plan = definition.plan({
    prompt,
    model: services.nativeModel(turn.model),
    ...(resumes !== undefined && { resume: resumes }),
    credential: provider.credential,
    mcp,
    workspace: task.workspace,
    configDir,
    tmpDir: files.tmp,
  });
  const given = [
    mcp.token.open(),
    ...Object.values(plan.env).flatMap((value) => (value instanceof Secret ? [value.open()] : [])),
  ];
  const secrets = [...new Set([...given, ...services.secrets.map((secret) => secret.open())])];
  const env = childEnv({ daemonEnv: services.daemonEnv, home: services.home, tmpDir: files.tmp, plan: plan.env });
  const request: SpawnRequest = {
    id: turn.id,
    argv: [...argv, ...plan.args],
    env,
    cwd: task.workspace,
    ...services.terminal,
    redirect: { stdin: files.stdin, capture: files.capture },
    marker: { name: markerName, value: turn.id },
    mask: secrets,
    graceMs: services.limits.graceMs,
  };
  await Promise.all([
    writePrivate(files.secrets, JSON.stringify(secrets)),
    writePrivate(files.launch, JSON.stringify(request)),
    writePrivate(files.stdin, plan.stdin),
    writeFile(files.capture, '', { flag: 'a', mode: 0o600 }),
    mkdir(configDir, { recursive: true, mode: 0o700 }),
    ...Object.entries(plan.files).map(([path, text]) => writePrivate(join(configDir, path), text)),
  ]);
  return { provider, version, request };
}

/** What was prepared before the launch was recorded: planned anew it could be another program, or none. */
export async function readLaunch(files: TurnFiles): Promise<SpawnRequest> {
  try {
    return JSON.parse(await readFile(files.launch, 'utf8')) as SpawnRequest; // our own private file
  } catch (error) {
    throw new LaunchFailure('spawn_failed', `what was to be launched is lost: ${String(error)}`);
  }
}

/** An executor names its conversation before it keeps it: one that was never kept is begun anew. */
export async function sessionToResume(
  { store, layout }: TurnServices,
  { taskId, executor }: TurnRow,
  { conversation }: Executor,
): Promise<string | undefined> {
  const session = store.latestSession(taskId, executor);
  if (session === undefined) return undefined;
  for await (const _ of glob(conversation(session), { cwd: layout.configDir(taskId, executor) })) return session;
  return undefined;
}

/** What a failed spawn means for the turn. */
export function launchFailure(error: unknown): LaunchFailure {
  if (error instanceof LaunchFailure) return error;
  const message = error instanceof Error ? error.message : String(error);
  if (isDiskFull(error)) return new LaunchFailure('disk_full', message);
  if (!(error instanceof HostError)) return new LaunchFailure('spawn_failed', message);
  switch (error.code) {
    case 'cwd_missing':
      return new LaunchFailure('workspace_invalid', message);
    case 'program_missing':
      return new LaunchFailure('executor_unavailable', message);
    case 'disk_full':
      return new LaunchFailure('disk_full', message);
    default:
      return new LaunchFailure('spawn_failed', message);
  }
}

async function providerOf(services: TurnServices, definition: Executor): Promise<Provider> {
  try {
    return await services.provider(definition);
  } catch (error) {
    if (error instanceof DaemonError && error.code === 'credentials_required')
      throw new LaunchFailure('credentials_required', error.message);
    throw error;
  }
}

async function writePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, text, { mode: 0o600 });
}

async function openWorkspace({ workspace, ownsWorkspace }: TaskRow): Promise<void> {
  if (ownsWorkspace) await mkdir(workspace, { recursive: true });
  const found = await stat(workspace).catch(() => undefined);
  if (!found?.isDirectory()) throw new LaunchFailure('workspace_invalid', `${workspace} is not a directory any more`);
}
