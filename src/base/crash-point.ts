/** `name` or `name:times`: calls `crash` when the step is reached for that time. Only tests of recovery set it. */
export function crashPoint(at: string | undefined, crash: () => void): (step: string) => void {
  if (at === undefined) return () => undefined;
  const [name, times = '1'] = at.split(':');
  let left = Number(times);
  return (step) => {
    if (step === name && --left === 0) crash();
  };
}
