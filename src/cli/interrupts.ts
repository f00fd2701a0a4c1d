/** Calls the listener at each Ctrl-C (or SIGTERM) with its number, from 1, until disposed; without one, Ctrl-C ends the process. */
export function onInterrupt(listener: (count: number) => void): Disposable {
  let count = 0;
  const told = (): void => listener((count += 1));
  process.on('SIGINT', told).on('SIGTERM', told);
  return {
    [Symbol.dispose]() {
      process.off('SIGINT', told).off('SIGTERM', told);
    },
  };
}
