const star = 0x2a;
/** Shorter values would hide ordinary text: `true`, a port, a name. */
const minBytes = 8;
/** Deeper JSON than anyone means; beyond it the text is masked as one. */
const maxDepth = 500;

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Replaces known secrets, as they are and as they are usually escaped, by as many `*`. */
export class Mask {
  readonly #texts: readonly string[];
  readonly #patterns: readonly Buffer[];
  /** No shorter text can hold a secret: most keys and ids are. */
  readonly #minLength: number;
  readonly #maxBytes: number;
  readonly #patternsByFirst: ReadonlyMap<number, readonly Buffer[]>;

  constructor(values: readonly string[]) {
    const known = values.filter((value) => Buffer.byteLength(value) >= minBytes);
    const texts = new Set(known.flatMap(formsOf));
    this.#texts = [...texts];
    this.#patterns = this.#texts.map((text) => Buffer.from(text));
    this.#minLength = Math.min(...this.#texts.map(({ length }) => length));
    this.#maxBytes = Math.max(0, ...this.#patterns.map(({ length }) => length));
    this.#patternsByFirst = Map.groupBy(this.#patterns, (pattern) => pattern[0]!);
  }

  /** As many UTF-16 units as before. */
  text(text: string): string {
    if (text.length < this.#minLength) return text;
    const hits: { start: number; end: number }[] = [];
    for (const secret of this.#texts) {
      for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1)) {
        hits.push({ start: at, end: at + secret.length });
      }
    }
    let masked = '';
    let done = 0;
    for (const { start, end } of hits.sort((a, b) => a.start - b.start)) {
      if (end <= done) continue; // inside another
      masked += text.slice(done, start) + '*'.repeat(end - Math.max(start, done));
      done = end;
    }
    return masked + text.slice(done);
  }

  /** As many bytes as before; the same buffer when there is nothing to hide. */
  bytes(bytes: Buffer): Buffer {
    return this.search(bytes).masked;
  }

  /** The strings and keys of a JSON value, masked. */
  deep<T extends Json>(value: T): T {
    return this.#texts.length === 0 ? value : (this.#deep(value, 0) as T); // the shape stays as it was
  }

  #deep(value: Json, depth: number): Json {
    if (typeof value === 'string') return this.text(value);
    if (typeof value !== 'object' || value === null) return value;
    if (depth === maxDepth) return '[too deep]';
    if (isList(value)) return value.map((item) => this.#deep(item, depth + 1));
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [this.text(key), this.#deep(item, depth + 1)] as const),
    );
  }

  /** The masked bytes, and the end of each secret that was found. */
  search(bytes: Buffer): { readonly masked: Buffer; readonly found: readonly { start: number; end: number }[] } {
    let masked = bytes;
    const found: { start: number; end: number }[] = [];
    if (bytes.length < this.#minLength) return { masked, found };
    for (const pattern of this.#patterns) {
      for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) {
        if (masked === bytes) masked = Buffer.from(bytes);
        masked.fill(star, at, at + pattern.length);
        found.push({ start: at, end: at + pattern.length });
      }
    }
    return { masked, found };
  }

  /** Where the longest tail starts that could be the beginning of a secret; the length when there is none. */
  possibleStart(bytes: Buffer): number {
    for (let at = Math.max(0, bytes.length - this.#maxBytes + 1); at < bytes.length; at += 1) {
      const length = bytes.length - at;
      const couldBegin = (pattern: Buffer): boolean =>
        pattern.length > length && bytes.compare(pattern, 0, length, at) === 0;
      if (this.#patternsByFirst.get(bytes[at]!)?.some(couldBegin)) return at;
    }
    return bytes.length;
  }
}

/**
 * Masks a stream of bytes, also secrets split across chunks: a tail that could begin one is held back. Who owns it calls
 * `flush` after a silence, so that a prompt that only looks like a secret's beginning is seen.
 */
export class StreamMask {
  readonly #mask: Mask;
  #held: Buffer = Buffer.alloc(0);
  /** How many bytes at the start of `#held` belong to a secret already found that overlaps a possible next one. */
  #covered = 0;

  constructor(mask: Mask) {
    this.#mask = mask;
  }

  get held(): number {
    return this.#held.length;
  }

  /** The bytes that can be shown now. */
  push(chunk: Buffer): Buffer {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const { masked, found } = this.#mask.search(bytes);
    const cut = this.#mask.possibleStart(bytes);
    const shown = this.#cover(masked, bytes).subarray(0, cut);
    const overlap = found.reduce((end, hit) => (hit.start < cut ? Math.max(end, hit.end) : end), this.#covered);
    this.#held = bytes.subarray(cut);
    this.#covered = Math.max(0, overlap - cut);
    return shown;
  }

  /** What was held back, given up waiting for the rest. */
  flush(): Buffer {
    const shown = this.#cover(this.#mask.bytes(this.#held), this.#held);
    this.#held = Buffer.alloc(0);
    this.#covered = 0;
    return shown;
  }

  #cover(masked: Buffer, original: Buffer): Buffer {
    if (this.#covered === 0) return masked;
    const copy = masked === original ? Buffer.from(original) : masked;
    return copy.fill(star, 0, this.#covered);
  }
}

function formsOf(value: string): string[] {
  const url = encodeURIComponent(value.toWellFormed());
  const json = JSON.stringify(value).slice(1, -1);
  const escaped = [
    url,
    url.replace(/%[0-9A-F]{2}/g, (hex) => hex.toLowerCase()),
    new URLSearchParams({ v: value }).toString().slice(2), // as a form: + for a space
    json,
    json.replaceAll('/', '\\/'),
    json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  ];
  return [value, ...escaped, ...base64Forms(value)];
}

/** The characters that a value alone decides, wherever it stands in what was encoded. */
function base64Forms(value: string): string[] {
  return [0, 1, 2].flatMap((before) => {
    const bytes = Buffer.concat([Buffer.alloc(before), Buffer.from(value)]);
    const from = Math.ceil((before * 8) / 6);
    const to = Math.floor((bytes.length * 8) / 6);
    return [bytes.toString('base64').slice(from, to), bytes.toString('base64url').slice(from, to)];
  });
}

function isList(value: object): value is readonly Json[] {
  return Array.isArray(value);
}
