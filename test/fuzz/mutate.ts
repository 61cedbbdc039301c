/** Texts and bytes made wrong: as JSON, as lines, as neither. */
import type { Choice } from './random.ts';

/** Moves the cursor, sets the title, turns the line round, ends an attribute, closes a tag. */
export const HOSTILE =
  '\u001b[2J\u001b]0;x\u0007\u009b31m\u202e\u2066"><script>alert(1)</script>\r\n{}\u0000';

export const NUMBERS = [
  0,
  -1,
  1,
  2,
  0.5,
  7,
  64,
  255,
  1024,
  1e5,
  1e9,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e15,
  1e308,
  -1e308,
];
export const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', '', HOSTILE, 'x'.repeat(100_000)];

/** Of JSON that is parsed to be changed. */
const MOST_LEVELS = 1000;
/** Of a list that repeats a value. */
const MOST_CHARACTERS = 1e7;

/** What a value becomes. */
function value(c: Choice, was: unknown): unknown {
  if (c.once(8)) return nested(c.of([70, 20_000, 200_000]));
  // A list of many large values would be longer than memory.
  const fits = Math.ceil(MOST_CHARACTERS / (JSON.stringify(was ?? null).length || 1));
  const kinds: (() => unknown)[] = [
    () => null,
    () => c.once(2),
    () => c.of(NUMBERS),
    () => '',
    () => HOSTILE,
    () =>
      c.of([
        'a',
        '../../x',
        '/dev/zero',
        '/etc/passwd',
        'NaN',
        '0'.repeat(400),
        '\ud800',
        'é\u0301'.repeat(2e5),
      ]),
    () => [],
    () => ({}),
    () => Array.from({ length: Math.min(c.of([1, 100, 100_000]), fits) }, () => c.of([was, 0, null, 'x'])),
    () => ({ [c.of(KEYS)]: was }),
    () => [was],
    () => (typeof was === 'string' ? was + c.of([' ', HOSTILE, '\n', '{}', 'x']) : was),
    () => (typeof was === 'number' ? was + c.of([1, -1, 0.5, -was, was]) : was),
    () => (typeof was === 'string' && was !== '' ? was.slice(0, c.below(was.length)) : was),
  ];
  return c.of(kinds)();
}

/** A value that stands for so many brackets: JSON.stringify itself would overflow. */
function nested(depth: number): unknown {
  return { [NESTED]: depth };
}
const NESTED = '\u0000nested';

function written(json: unknown): string {
  let room = 1e7; // a list of many such values would be longer than a string can be
  return JSON.stringify(json).replace(/\{"\\u0000nested":(\d+)\}/g, (_, depth) => {
    const n = Math.min(Number(depth), room);
    room -= n;
    return '['.repeat(n) + ']'.repeat(n);
  });
}

/** How deep the brackets of a JSON text go. */
export function levelsOf(text: string): number {
  let [deepest, depth] = [0, 0];
  for (let i = 0; i < text.length; i += 1) {
    const sign = text[i] as string;
    if (sign === '"') for (i += 1; i < text.length && text[i] !== '"'; i += 1) i += text[i] === '\\' ? 1 : 0;
    else if (sign === '[' || sign === '{') deepest = Math.max(deepest, (depth += 1));
    else if (sign === ']' || sign === '}') depth -= 1;
  }
  return deepest;
}

/** One to three members of a JSON text changed; texts within it that are JSON are changed from within, too. */
export function mutateJson(c: Choice, text: string): string {
  let root: unknown;
  try {
    if (levelsOf(text) > MOST_LEVELS) throw new RangeError('made wrong before: too deep to be written again');
    root = JSON.parse(text);
  } catch {
    return mutateText(c, text);
  }
  for (let times = 1 + c.below(3); times > 0; times -= 1) root = change(c, root, 0);
  const out = written(root);
  return c.once(12) ? c.of(['\ufeff', '[', '}', '\u0000', ' ']) + out : out;
}

/** Half of the changes are to outermost members: those are what a reader relies on first. */
function change(c: Choice, node: unknown, depth: number): unknown {
  if (typeof node === 'string' && /^[[{]/.test(node) && !c.once(4)) return mutateJson(c, node);
  if (depth === 1 && c.once(2)) return value(c, node);
  if (typeof node !== 'object' || node === null || c.once(8))
    return depth === 0 && c.once(2) ? node : value(c, node);
  if (Array.isArray(node)) {
    const list: unknown[] = [...(node as unknown[])];
    const at = c.below(list.length + 1);
    if (at === list.length || c.once(6)) list.splice(at, c.below(2), value(c, list[at]));
    else list[at] = change(c, list[at], depth + 1);
    return list;
  }
  const entries = Object.entries(node);
  const at = c.below(entries.length);
  const entry = entries[at];
  if (!entry || c.once(10)) return Object.fromEntries([...entries, [c.of(KEYS), value(c, 0)]]);
  if (c.once(10)) return Object.fromEntries(entries.filter((_, i) => i !== at));
  if (c.once(12)) return Object.fromEntries(entries.map(([key, v], i) => [i === at ? c.of(KEYS) : key, v]));
  entries[at] = [entry[0], change(c, entry[1], depth + 1)];
  return Object.fromEntries(entries);
}

export function mutateBytes(c: Choice, bytes: Uint8Array): Uint8Array {
  const n = bytes.length;
  const at = c.below(n + 1);
  const out = bytes.slice();
  const kinds: (() => Uint8Array)[] = [
    () => out.subarray(0, at),
    () => Buffer.concat([out, out.subarray(0, at)]),
    () => Buffer.concat([out.subarray(0, at), Buffer.from(HOSTILE), out.subarray(at)]),
    () => Buffer.concat([out.subarray(0, at), out.subarray(Math.min(n, at + 1 + c.below(64)))]),
    () => new Uint8Array(0),
    () => new Uint8Array(c.of([1, 8, 100, 100_000])),
    () => out.fill(c.of([0, 255, 0x5b, 0x22]), at, at + c.of([1, 8, 1000])),
    () => {
      for (let i = 1 + c.below(8); i > 0 && n > 0; i -= 1)
        out[c.below(c.once(2) ? Math.min(n, 200) : n)]! ^= 1 << c.below(8);
      return out;
    },
  ];
  return c.of(kinds)();
}

/** Lines of a text changed, repeated, made endless. */
export function mutateText(c: Choice, text: string): string {
  const lines = text.split('\n');
  const at = c.below(lines.length);
  const line = lines[at] ?? '';
  const kinds: (() => void)[] = [
    () => lines.splice(at, 1),
    () =>
      lines.splice(at, 0, c.of([HOSTILE, '', '{', '[', '"', 'null', 'x'.repeat(1e6), BRACKETS, ',,,,', '#'])),
    () => (lines[at] = line + c.of([HOSTILE, ' '.repeat(1e5), ',x', '"', '\ud800', '{}', '\t'])),
    () => (lines[at] = line.slice(0, c.below(line.length + 1))),
    () => (lines[at] = /^\s*[[{]/.test(line) ? mutateJson(c, line) : line.replace(/[a-z]+/i, HOSTILE)),
    () => (lines[at] = /^\s*[[{]/.test(line) ? mutateJson(c, line) : line.toUpperCase()),
    () => lines.push(...lines),
    () => lines.reverse(),
  ];
  c.of(kinds)();
  return lines.join(c.once(10) ? '\r\n' : '\n');
}
const BRACKETS = '['.repeat(200_000);
