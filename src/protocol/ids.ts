import { z } from 'zod';

/** Chosen by a client or made by the daemon; safe as a file name. */
const id = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
    'must be 1 to 64 letters, digits, - or _, beginning with a letter or digit',
  );

export const TaskId = id.brand<'TaskId'>();
export type TaskId = z.infer<typeof TaskId>;

export const TurnId = id.brand<'TurnId'>();
export type TurnId = z.infer<typeof TurnId>;

/** A turn's terminal has the turn's id. Never used again for another. */
export const TerminalId = id.brand<'TerminalId'>();
export type TerminalId = z.infer<typeof TerminalId>;

/** A client's own name for a request, by which a retry is recognised. */
export const RequestId = id;
