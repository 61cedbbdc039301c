/** WGSL in colours: for reading, and for CodeMirror. */
import { h } from './dom.ts';

export type Kind = 'comment' | 'keyword' | 'type' | 'attribute' | 'number' | 'name' | 'other';

const PATTERN = new RegExp(
  [
    String.raw`(?<comment>//.*)`,
    String.raw`(?<attribute>@\w+)`,
    String.raw`(?<keyword>\b(?:fn|let|var|const|override|struct|if|else|for|while|loop|return|break|continue|continuing|switch|case|default|enable|true|false|storage|read|read_write|uniform|workgroup)\b)`,
    String.raw`(?<type>\b(?:f32|f16|u32|i32|bool|vec[234][fuih]?|mat\dx\d[fh]?|array|atomic|ptr|texture_\w+)\b)`,
    String.raw`(?<number>\b(?:0x[\da-fA-F]+|\d[\d.]*(?:e[+-]?\d+)?)[fuih]?\b)`,
    String.raw`(?<name>\b[A-Za-z_]\w*\b)`,
    String.raw`(?<other>\s+|.)`,
  ].join('|'),
  'gu',
);

/** The pieces of a line, in order. */
export function* tokenise(line: string): Generator<{ readonly kind: Kind; readonly text: string }> {
  for (const match of line.matchAll(PATTERN)) {
    const [kind = 'other'] = Object.entries(match.groups ?? {}).find(([, text]) => text !== undefined) ?? [];
    yield { kind: kind as Kind, text: match[0] };
  }
}

/** A shader as it lies on the disk; lines that hold one of `marks` are marked, and so is the formula in its header. */
export function listing(name: string, code: string, marks: readonly string[]): HTMLElement {
  const lines = code.trimEnd().split('\n');
  const inHeader = lines.findIndex((line) => !line.startsWith('//'));
  return h(
    'pre',
    { class: 'wgsl', tabindex: '0', 'aria-label': `${name}.wgsl`, role: 'region' },
    h(
      'code',
      {},
      lines.map((line, i) => {
        const formula = i < inHeader && /^\/\/ {2,3}\S/.test(line);
        const marked = formula || marks.some((mark) => i >= inHeader && line.includes(mark));
        return h(
          'span',
          { class: marked ? 'line marked' : 'line' },
          [...tokenise(line)].map(({ kind, text }) =>
            kind === 'other' || kind === 'name' ? text : h('span', { class: `w-${kind}` }, text),
          ),
          '\n',
        );
      }),
    ),
  );
}
