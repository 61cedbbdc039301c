/**
 * Finds a place in a source by its syntax and changes it: white space, comments and line breaks do not matter.
 *
 * A pattern is code in which `$name` stands for anything. It must fit exactly one place of the file (or of the function
 * named), so a mutant whose place has gone fails loudly instead of changing nothing.
 *
 *   TypeScript   the pattern is parsed; `$name` is any expression, and trees are compared
 *   WGSL         the pattern is a row of tokens; `$name` is any run of tokens with its brackets closed
 */
import { parse, parseExpression } from '@babel/parser';
import type { ParserOptions } from '@babel/parser';
import MagicString from 'magic-string';

export interface Change {
  /** Only inside the function, method or kernel of this name. */
  readonly within?: string;
  readonly from: string;
  readonly to: string;
}

interface Found {
  readonly start: number;
  readonly end: number;
  /** The source of each `$name`. */
  readonly holes: ReadonlyMap<string, string>;
}

/** @throws Error unless the pattern fits exactly once */
export function mutate(file: string, source: string, { within, from, to }: Change): string {
  const found = file.endsWith('.wgsl') ? findTokens(source, from, within) : findNodes(source, from, within);
  const [place] = found;
  if (!place || found.length > 1)
    throw new Error(`${file}: ${found.length} places fit \`${from}\`${within ? ` in ${within}` : ''}`);
  const text = to.replace(/\$\w+/g, (name) => place.holes.get(name) ?? name);
  return new MagicString(source).overwrite(place.start, place.end, text).toString();
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

/** What says where a node stands, not what it is. */
const POSITION = new Set([
  'start',
  'end',
  'loc',
  'range',
  'extra',
  'leadingComments',
  'trailingComments',
  'innerComments',
  'comments',
  'errors',
]);

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

function findNodes(source: string, pattern: string, within: string | undefined): Found[] {
  const root = parse(source, { sourceType: 'module', plugins: ['typescript'] }).program as unknown as Node;
  const wanted = parsePattern(pattern);
  const found: Found[] = [];
  const visit = (node: Node, inside: boolean): void => {
    const here = inside || nameOf(node) === within;
    if (here) {
      const holes = new Map<string, string>();
      if (equal(wanted, node, source, holes)) found.push({ start: node.start, end: node.end, holes });
    }
    for (const child of Object.values(node).flat()) if (isNode(child)) visit(child, here);
  };
  visit(root, within === undefined);
  return found;
}

function parsePattern(pattern: string): Node {
  const options: ParserOptions = { sourceType: 'module', plugins: ['typescript'] };
  try {
    return parseExpression(pattern, options) as unknown as Node;
  } catch {
    const [statement] = parse(pattern, { ...options, allowReturnOutsideFunction: true }).program.body;
    return statement as unknown as Node;
  }
}

function nameOf(node: Node): string | undefined {
  const named = node['id'] ?? node['key'];
  return isNode(named) ? (named['name'] as string | undefined) : undefined;
}

function equal(want: unknown, got: unknown, source: string, holes: Map<string, string>): boolean {
  if (isNode(want) && want.type === 'Identifier' && String(want['name']).startsWith('$')) {
    if (!isNode(got)) return false;
    holes.set(String(want['name']), source.slice(got.start, got.end));
    return true;
  }
  if (Array.isArray(want) || Array.isArray(got)) {
    if (!Array.isArray(want) || !Array.isArray(got) || want.length !== got.length) return false;
    return want.every((item, i) => equal(item, got[i], source, holes));
  }
  if (isNode(want) && isNode(got)) {
    const keys = new Set([...Object.keys(want), ...Object.keys(got)].filter((key) => !POSITION.has(key)));
    return [...keys].every((key) => equal(want[key], got[key], source, holes));
  }
  if (typeof want === 'object' && typeof got === 'object')
    return JSON.stringify(want) === JSON.stringify(got);
  return want === got || (!want && !got); // absent and false are the same: computed, optional, static
}

interface Token {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

const WGSL_TOKEN =
  /\/\/.*|\/\*[^]*?\*\/|\$?[A-Za-z_]\w*|\d[\w.]*(?:[eE][+-]\d+)?\w*|\.\d\w*|(?:<<|>>|[-+*/%&|^=!<>])=?|&&|\|\||[^\s]/g;

function tokens(source: string): Token[] {
  return [...source.matchAll(WGSL_TOKEN)]
    .map(({ 0: text, index }) => ({ text, start: index, end: index + text.length }))
    .filter(({ text }) => !text.startsWith('//') && !text.startsWith('/*'));
}

function findTokens(source: string, pattern: string, within: string | undefined): Found[] {
  const all = tokens(source);
  const wanted = tokens(pattern).map(({ text }) => text);
  const [first, last] = within === undefined ? [0, all.length] : bodyOf(all, within);
  const found: Found[] = [];
  for (let at = first; at < last; at += 1) {
    const holes = new Map<string, string>();
    const end = fits(all.slice(0, last), at, wanted, source, holes);
    if (end !== undefined) found.push({ start: all[at]?.start ?? 0, end: all[end - 1]?.end ?? 0, holes });
  }
  return found;
}

/** The tokens of `fn name(...) {...}`. */
function bodyOf(all: readonly Token[], name: string): [number, number] {
  const at = all.findIndex(({ text }, i) => text === name && all[i - 1]?.text === 'fn');
  if (at < 0) return [0, 0];
  let depth = 0;
  for (let i = at; i < all.length; i += 1) {
    if (all[i]?.text === '{') depth += 1;
    if (all[i]?.text === '}' && (depth -= 1) === 0) return [at, i + 1];
  }
  return [at, all.length];
}

/** Where a fit of the pattern from token `at` on ends; undefined where there is none. */
function fits(
  all: readonly Token[],
  at: number,
  wanted: readonly string[],
  source: string,
  holes: Map<string, string>,
): number | undefined {
  const [word, ...rest] = wanted;
  if (word === undefined) return at;
  if (!word.startsWith('$'))
    return all[at]?.text === word ? fits(all, at + 1, rest, source, holes) : undefined;
  let depth = 0;
  for (let end = at; end < all.length; end += 1) {
    const text = all[end]?.text ?? '';
    if ('([{'.includes(text)) depth += 1;
    if (')]}'.includes(text)) depth -= 1;
    if (depth < 0 || text === ';') return undefined;
    if (depth > 0) continue;
    const tail = fits(all, end + 1, rest, source, holes);
    if (tail === undefined) continue;
    holes.set(word, source.slice(all[at]?.start, all[end]?.end));
    return tail;
  }
  return undefined;
}
