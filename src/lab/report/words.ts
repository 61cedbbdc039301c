/** Numbers and text as the report's HTML has them. */

/** Text with the characters that HTML reads as markup written out. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** Text as HTML in which |Δ| is never parted by the end of a line. */
export function prose(text: string): string {
  return keepTogether(escape(text));
}

export function keepTogether(html: string): string {
  return html.replaceAll('|Δ|', '<span class="nw">|Δ|</span>');
}

/** `4.2×10⁻⁵`: a |Delta|. */
export function power(x: number | undefined): string {
  if (x === undefined) return '';
  if (!Number.isFinite(x)) return 'not finite';
  if (x === 0) return '0';
  const [digits = '', exponent = '0'] = x.toExponential(1).split('e');
  return `${digits}×10<sup>${Number(exponent) < 0 ? '−' : ''}${Math.abs(Number(exponent))}</sup>`;
}

export function fixed(x: number | null | undefined, digits = 1): string {
  if (x === undefined || x === null) return '';
  return Number.isFinite(x) ? x.toFixed(digits).replace('-', '−') : 'not finite';
}

/** A number that may be large: `63.4`, `1,240`, `3.1×10⁷`. */
export function large(x: number | null | undefined): string {
  if (x === undefined || x === null) return '';
  if (!Number.isFinite(x)) return 'not finite';
  if (x >= 1e5) return power(x);
  return x >= 1000 ? Math.round(x).toLocaleString('en') : x.toFixed(1);
}

/** `1 edit`, `3 edits`. */
export function count(n: number, noun: string): string {
  return `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
}

/** At most `most` characters, cut at a blank. */
export function shorten(text: string, most: number): string {
  if (text.length <= most) return text;
  const cut = text.slice(0, most);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(' '), most / 2))} …`;
}
