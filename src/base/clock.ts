/** Where time comes from, so that tests can set it and nobody has to change the machine's clock. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };
