import { randomBytes } from 'node:crypto';
import { glob, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isDiskFull, writeFileAtomic } from '../base/files.ts';
import { sha256 } from '../base/hash.ts';
import { Secret } from '../base/secret.ts';
import type { Executor } from '../kit/executor.ts';
import type { Ending, Evidence, NewEvent } from '../protocol/events.ts';
import { DaemonError } from '../protocol/errors.ts';
import { HostError } from '../pty-host/host-error.ts';
import type { SpawnRequest } from '../pty-host/protocol.ts';
import type { TaskRow, TurnRow } from '../store/rows.ts';
import type { Admitted } from './admission.ts';
import { childEnv } from './child-env.ts';
import { secretsOf } from './credential-secrets.ts';
import { handOver, type HandOver } from './hand-over.ts';
import type { TurnFiles } from './layout.ts';
import { ownCredential, ownEnv, secretsIn, type TurnInputs } from './turn-inputs.ts';
import type { TurnServices } from './turn-services.ts';

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

/** Another turn has what only one can have: it goes back to waiting. */
export class Postponed extends Error {
  override readonly name = 'Postponed';
}

export interface Launch {
  readonly request: SpawnRequest;
  readonly version: string | undefined;
  readonly admitted: Admitted;
  readonly handOver: HandOver | undefined;
  /** SHA-256 of the turn's token. */
  readonly tokenHash: string;
}

interface Prepared {
  readonly task: TaskRow;
  readonly turn: TurnRow;
  readonly inputs: TurnInputs;
  readonly resumes: string | undefined;
}

/** Turns a turn into a spawn request, and writes the private files that it needs, the request itself among them. */
export async function prepareLaunch(services: TurnServices, prepared: Prepared): Promise<Launch> {
  const { task, turn, inputs, resumes } = prepared;
  const installed = services.executor(turn.executor);
  if (!installed?.argv) {
    throw new LaunchFailure(
      'executor_unavailable',
      `${turn.executor} is not installed: ${installed?.command ?? 'it is not an executor of this harnessd'}`,
    );
  }
  const { definition, argv, version } = installed;
  const admitted = admit(services, definition, prepared);
  const { payment } = admitted;
  const lease = payment.kind === 'configured' ? payment.lease : undefined;
  if (lease !== undefined) {
    if (services.credentials.isLeased(lease, turn.id)) throw new Postponed();
    services.credentials.lease(lease, turn.id); // from the moment in which it was chosen
  }
  const credential = payment.kind === 'configured' ? payment.credential : await services.offlineCredential();
  const files = services.layout.turn(turn.id);
  await openWorkspace(task);
  await files.make();

  const configDir = services.layout.configDir(task.id, definition.id);
  const asked = await readFile(files.prompt, 'utf8');
  const { workspace } = task;
  const told = await handOver({ store: services.store, turn, workspace, resumes: resumes !== undefined });
  const token = new Secret(`hdt_${randomBytes(32).toString('base64url')}`);
  const plan = definition.plan({
    prompt: told ? `${told.text}\n\n${asked}` : asked,
    model: admitted.model.native,
    ...(resumes !== undefined && { resume: resumes }),
    credential,
    mcp: { name: mcpName, url: await services.mcpUrl(), token },
    workspace: task.workspace,
    configDir,
    tmpDir: files.tmp,
  });
  const own = [token, ...secretsOf(credential), ...secretsIn(inputs)];
  const secrets = [...new Set(own.map((secret) => secret.open()))];
  const request: SpawnRequest = {
    id: turn.id,
    argv: [...argv, ...plan.args],
    env: childEnv({
      daemonEnv: services.daemonEnv,
      home: services.home,
      tmpDir: files.tmp,
      given: ownEnv(inputs),
      plan: plan.env,
    }),
    cwd: task.workspace,
    ...services.terminal,
    redirect: { stdin: files.stdin, capture: files.capture },
    marker: { name: markerName, value: turn.id },
    mask: secrets,
    graceMs: services.limits.graceMs,
  };
  const planned = Object.entries(plan.files).map(([path, text]) => [join(configDir, path), text] as const);
  await files.removePlanned(); // of an earlier daemon, which planned otherwise
  await writeFileAtomic(files.planned, JSON.stringify(planned.map(([path]) => path))); // before they are there
  await Promise.all([
    writePrivate(files.secrets, JSON.stringify(secrets)),
    writePrivate(files.launch, JSON.stringify(request)),
    writePrivate(files.stdin, plan.stdin),
    writeFile(files.capture, '', { flag: 'a', mode: 0o600 }),
    mkdir(configDir, { recursive: true, mode: 0o700 }),
    ...planned.map(([path, text]) => writePrivate(path, text)),
    ...(credential.isFile ? [writePrivate(files.credential, sha256(credential.value.open()))] : []),
  ]);
  return { version, admitted, request: masked(request, services), handOver: told, tokenHash: sha256(token.open()) };
}

/** The daemon's own secrets are added in its memory: in no turn's directory is any but its own. */
function masked(request: SpawnRequest, { secrets }: TurnServices): SpawnRequest {
  return { ...request, mask: [...request.mask, ...secrets.map((secret) => secret.open())] };
}

/** Asked again: since the turn was made, the policy or the credentials may have changed. */
function admit(services: TurnServices, executor: Executor, { turn, inputs }: Prepared): Admitted {
  const { model, member } = turn;
  try {
    const admitted = services.admission.admit({
      executor,
      model,
      member: member ?? undefined,
      credential: ownCredential(inputs),
    });
    if (admitted.payment.kind !== 'awaited') return admitted;
    throw new LaunchFailure('credentials_required', `the credential for ${executor.id} is not here any more`);
  } catch (error) {
    if (!(error instanceof DaemonError)) throw error;
    const reason = failures.find((known) => known === error.code);
    throw reason === undefined ? error : new LaunchFailure(reason, error.message);
  }
}

/** What can forbid a turn when it starts, by the names under which it also refuses one that is made. */
const failures = [
  'executor_disabled',
  'model_disabled',
  'model_not_allowed',
  'auth_not_allowed',
  'credentials_required',
] as const;

/** What there is to tell of a launch beside that it began. */
export function launchNotes({ handOver: told, admitted: { fallback } }: Launch): NewEvent[] {
  const notes: NewEvent[] = [];
  if (told) notes.push({ type: 'turn.handed_over', data: { text: told.text, turns: [...told.turns] } });
  if (fallback !== undefined)
    notes.push({ type: 'warning.raised', data: { code: 'payment_fallback', message: fallback } });
  return notes;
}

/** What was prepared before the launch was recorded: planned anew it could be another program, or none. */
export async function readLaunch(files: TurnFiles, services: TurnServices): Promise<SpawnRequest> {
  try {
    return masked(JSON.parse(await readFile(files.launch, 'utf8')) as SpawnRequest, services); // our own private file
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

async function writePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, text, { mode: 0o600 });
}

async function openWorkspace({ workspace, ownsWorkspace }: TaskRow): Promise<void> {
  if (ownsWorkspace) await mkdir(workspace, { recursive: true });
  const found = await stat(workspace).catch(() => undefined);
  if (!found?.isDirectory()) throw new LaunchFailure('workspace_invalid', `${workspace} is not a directory any more`);
}
