/**
 * JSON from a stranger: its depth and the number of its values are known before it is parsed.
 *
 * `JSON.parse` itself takes any depth, but what walks its result (a message, a comparison, `JSON.stringify`) recurses
 * and overflows the stack; and a value takes ten to a hundred times the memory of its text. So the text is scanned
 * first, in one pass that keeps nothing but a depth and a count.
 */

export interface JsonLimits {
  /** Objects and arrays within one another. Default 64. */
  readonly depth?: number;
  /** Members of all objects and arrays. Default 2,000,000: about 200 MB once parsed. */
  readonly values?: number;
  /** Refuses a key that one object has twice, of which `JSON.parse` keeps the last without a word. */
  readonly uniqueKeys?: boolean;
  /** As of `JSON.parse`. */
  readonly reviver?: (key: string, value: unknown) => unknown;
}

const DEPTH = 64;
const VALUES = 2_000_000;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const BLANKS = [0x20, 0x09, 0x0a, 0x0d];

/**
 * @param source text, or its UTF-8
 * @throws SyntaxError saying what came instead, for a message that says: expected JSON, found ...
 */
export function parseJson(source: string | Uint8Array, limits: JsonLimits = {}): unknown {
  scan(source, limits);
  const text = typeof source === 'string' ? source : decode(source);
  try {
    return JSON.parse(text, limits.reviver);
  } catch (error) {
    throw new SyntaxError((error as Error).message);
  }
}

/** The same, where the error is the caller's. @throws what `fault` makes of what came instead */
export function jsonFrom(
  source: string | Uint8Array,
  fault: (found: string, cause: unknown) => Error,
  limits?: JsonLimits,
): unknown {
  try {
    return parseJson(source, limits);
  } catch (cause) {
    throw fault((cause as Error).message, cause);
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** undefined for what is no JSON. */
export function jsonIfAny(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

/** UTF-8 as text. @throws SyntaxError where it is none */
function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new SyntaxError('bytes that are no UTF-8');
  }
}

/** Walks strings and brackets only: what is no JSON at all, `JSON.parse` finds. All these signs are ASCII. */
function scan(source: string | Uint8Array, limits: JsonLimits): void {
  const { depth: deepest = DEPTH, values: most = VALUES, uniqueKeys = false } = limits;
  const at =
    typeof source === 'string' ? (i: number) => source.charCodeAt(i) : (i: number) => source[i] as number;
  const { length } = source;
  const keys: Set<string>[] = []; // of each open object or array
  let depth = 0;
  let values = 0;
  for (let i = 0; i < length; i += 1) {
    const sign = at(i);
    if (sign === QUOTE) {
      const start = i;
      for (i += 1; i < length && at(i) !== QUOTE; i += 1) if (at(i) === BACKSLASH) i += 1;
      if (uniqueKeys && isKey(at, i + 1)) checkNew(source.slice(start, i + 1), keys[depth]);
    } else if (sign === COMMA) {
      values += 1;
    } else if (sign === 0x7b || sign === 0x5b) {
      values += 1;
      depth += 1;
      if (depth > deepest) throw new SyntaxError(`more than ${deepest} levels of brackets`);
      if (uniqueKeys) keys[depth] = new Set();
    } else if (sign === 0x7d || sign === 0x5d) {
      depth = Math.max(0, depth - 1);
    }
    if (values > most) throw new SyntaxError(`more than ${most.toLocaleString('en')} values`);
  }
}

/** Whether a colon follows, blanks aside; past the end there is none. */
function isKey(at: (i: number) => number, from: number): boolean {
  let i = from;
  while (BLANKS.includes(at(i))) i += 1;
  return at(i) === COLON;
}

/** @param written a key with its quotes */
function checkNew(written: string | Uint8Array, keys: Set<string> | undefined): void {
  const text = typeof written === 'string' ? written : new TextDecoder().decode(written);
  let key: string;
  try {
    key = JSON.parse(text) as string;
  } catch {
    return; // the parser says what is wrong
  }
  if (keys?.has(key)) throw new SyntaxError(`the key ${JSON.stringify(key).slice(0, 80)} twice`);
  keys?.add(key);
}
