import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { executors } from '../../executors/index.ts';
import { models } from '../../executors/models.ts';
import { Secret, type Executor, type McpServer } from '../../src/kit/executor.ts';
import { installedProgram } from '../../src/kit/program.ts';
import { childEnv } from '../../src/task/child-env.ts';
import type { Client } from '../../src/client/client.ts';
import { BenchDaemon, Scratch } from './bench-daemon.ts';
import { atMost, show, type Figure, type Row } from './figure.ts';
import { median } from './statistics.ts';

const pairs = 15;
const warmUp = 2;
const prompt = '{{run: true}} {{say: Done.}}';
const measured = ['claude', 'codex'];
const cliDir = join(import.meta.dirname, '..', '..', 'executors', 'cli');

export const turn: Figure = {
  name: 'turn',
  title: 'what a turn adds to the CLI that it runs',
  method:
    `${pairs} pairs, each CLI with the offline model: a turn from before task.create is sent until turn.ended is heard, and ` +
    `the same program with the same arguments, files and environment, started by hand with files as its standard input and output, until it has exited.`,
  async measure() {
    await using scratch = await Scratch.make({ hasKey: false });
    await using daemon = await BenchDaemon.start(scratch, ['--offline-model', 'auto', '--turn-concurrency', '2']);
    await using client = await daemon.client();
    const rows: Row[] = [];
    for (const id of measured) {
      const executor = executors.find((each) => each.id === id)!;
      const added: number[] = [];
      const byHand: number[] = [];
      const held = await hold(client, executor, scratch.stateDir);
      for (let pair = 0; pair < warmUp + pairs; pair += 1) {
        const first = pair % 2 === 0 ? await runTurn(client, id) : undefined;
        const hand = await runByHand(executor, scratch, held.mcp);
        const whole = first ?? (await runTurn(client, id));
        if (pair < warmUp) continue;
        added.push(whole - hand);
        byHand.push(hand);
      }
      await held.end();
      rows.push({ title: `${id}, median`, ...atMost(median(added), 150, 'ms') });
      rows.push({ title: `${id} by hand, median`, value: show(median(byHand), 'ms') });
    }
    return rows;
  },
};

/** A turn that only waits: as long as it does, its token opens harnessd's tools to the CLI that is run by hand. */
async function hold(
  client: Client,
  executor: Executor,
  stateDir: string,
): Promise<{ mcp: McpServer; end: () => Promise<unknown> }> {
  const { taskId } = await client.call('task.create', { prompt: '{{wait: 3600000}}', executor: executor.id });
  const over = new AbortController();
  for await (const { type } of client.events({ taskId, signal: over.signal }))
    if (type === 'turn.running') over.abort();
  const files = Object.keys(executor.plan(await requestOf(executor, stateDir, nowhere)).files);
  const texts = await Promise.all(
    files.map((name) => readFile(join(stateDir, 'tasks', taskId, executor.id, name), 'utf8')),
  );
  const { url, token } = /(?<url>http:\/\/[\d.:]+\/mcp)[^]*Bearer (?<token>[\w-]+)/.exec(texts.join('\n'))!.groups!;
  return {
    mcp: { name: 'harnessd', url: url!, token: new Secret(token!) },
    end: () => client.call('task.cancel', { taskId }),
  };
}

const nowhere: McpServer = { name: 'harnessd', url: 'http://127.0.0.1:9/mcp', token: new Secret('none') };

async function runTurn(client: Client, executor: string): Promise<number> {
  const before = performance.now();
  const { taskId } = await client.call('task.create', { prompt, executor });
  const over = new AbortController();
  let took = 0;
  for await (const { type, data } of client.events({ taskId, signal: over.signal })) {
    if (type !== 'turn.ended') continue;
    took = performance.now() - before;
    if (data['outcome'] !== 'succeeded') throw new Error(JSON.stringify(data));
    over.abort();
  }
  return took;
}

async function runByHand(executor: Executor, { dir, stateDir, env }: Scratch, mcp: McpServer): Promise<number> {
  const request = await requestOf(executor, stateDir, mcp, join(dir, 'by-hand', randomUUID()));
  const plan = executor.plan(request);
  for (const [path, text] of Object.entries({ ...plan.files, stdin: plan.stdin })) {
    const file = join(request.configDir, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text, { mode: 0o600 });
  }
  await mkdir(request.tmpDir, { recursive: true });
  await using stdin = await open(join(request.configDir, 'stdin'));
  await using stdout = await open(join(request.configDir, 'stdout'), 'w');
  const [program, ...args] = installedProgram(executor, cliDir)!;
  const before = performance.now();
  const child = spawn(program!, [...args, ...plan.args], {
    cwd: request.workspace,
    env: childEnv({ daemonEnv: env, home: env['HOME']!, tmpDir: request.tmpDir, given: {}, plan: plan.env }),
    stdio: [stdin.fd, stdout.fd, 'ignore'],
  });
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) throw new Error(`${executor.id} by hand exited with ${code}`);
  return performance.now() - before;
}

async function requestOf(executor: Executor, stateDir: string, mcp: McpServer, dir = '/nowhere') {
  const text = await readFile(join(stateDir, 'offline-model', 'offline-model.json'), 'utf8');
  const { url } = JSON.parse(text) as { url: string };
  const workspace = join(dir, 'workspace');
  if (dir !== '/nowhere') await mkdir(workspace, { recursive: true });
  return {
    prompt,
    model: models.find(({ id }) => id === executor.defaultModel)!.native,
    credential: { mode: 'credits' as const, value: new Secret('by-hand'), baseUrl: url },
    mcp,
    workspace,
    configDir: join(dir, 'config'),
    tmpDir: join(dir, 'tmp'),
  };
}
