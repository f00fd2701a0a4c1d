import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';

const state = process.env.HARNESSD_STATE_DIR ?? `${process.env.HOME}/.local/state/harnessd`;
const { url } = JSON.parse(readFileSync(`${state}/daemon.json`, 'utf8'));
const token = readFileSync(`${state}/token`, 'utf8').trim();
const socket = new WebSocket(url, 'harness.v1', { headers: { authorization: `Bearer ${token}` } });
const send = (id, method, params) => socket.send(JSON.stringify({ jsonrpc: '2.0', id, method, params }));

socket.on('open', () => send(1, 'task.create', { prompt: process.argv[2] ?? 'create hello.txt' }));
socket.on('message', (frame) => {
  const { id, result, error, params } = JSON.parse(frame);
  if (error) throw new Error(error.message);
  if (id === 1) send(2, 'task.subscribe', { taskId: result.taskId, after: 0 });
  for (const { seq, type, data } of params?.events ?? []) {
    console.log(seq, type, JSON.stringify(data));
    if (type === 'turn.ended') socket.close();
  }
});
