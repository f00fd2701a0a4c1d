/** The steps at which a crash of the daemon is tried, in their order. The writer adds `commit.begun` and `commit.done`. */
export const steps = [
  'create.written',
  'launch.planned',
  'launch.committed',
  'launch.spawned',
  'launch.recorded',
  'parse.read',
  'parse.folded',
  'parse.committed',
  'exit.seen',
  'ending.folded',
  'ending.committed',
  'cleanup.done',
] as const;
export type Step = (typeof steps)[number];

/** Called at each step of a turn: logs it, and in the crash tests kills the process there. */
export type OnStep = (step: Step) => void;
