/** One number that harnessd holds itself to. */
export interface Figure {
  readonly name: string;
  readonly title: string;
  /** How it is measured, for whoever doubts it. */
  readonly method: string;
  measure(): Promise<readonly Row[]>;
}

/** A line of the table. Without a limit it only explains the others. */
export interface Row {
  readonly title: string;
  readonly value: string;
  readonly limit?: { readonly text: string; readonly isMet: boolean };
}

export function atMost(value: number, limit: number, unit: string, digits = 1): Pick<Row, 'value' | 'limit'> {
  return {
    value: show(value, unit, digits),
    limit: { text: `≤ ${show(limit, unit, 0, limit)}`, isMet: value <= limit },
  };
}

export function atLeast(value: number, limit: number, unit: string, digits = 0): Pick<Row, 'value' | 'limit'> {
  return {
    value: show(value, unit, digits),
    limit: { text: `≥ ${show(limit, unit, 0, limit)}`, isMet: value >= limit },
  };
}

/** Of a limit as many digits as it has. */
export function show(value: number, unit: string, digits = 1, exact?: number): string {
  const places = exact === undefined ? { minimumFractionDigits: digits, maximumFractionDigits: digits } : {};
  return `${value.toLocaleString('en', places)} ${unit}`;
}
