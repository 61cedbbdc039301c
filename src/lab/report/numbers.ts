/** Numbers and text as the report writes them, in tables, sentences and on axes. */

/** Digits of an exponent. */
export const RAISED = [...'⁰¹²³⁴⁵⁶⁷⁸⁹'];

/** Text with the characters that HTML reads as markup written out. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** HTML in which |Δ| is never parted by the end of a line. */
export function keepTogether(html: string): string {
  return html.replaceAll('|Δ|', '<span class="nw">|Δ|</span>');
}

/** `4.2×10⁻⁵`: a |Δ|. */
export function power(x: number | undefined): string {
  return written(x, (number) => {
    if (number === 0) return '0';
    const [digits = '', exponent = '0'] = number.toExponential(1).split('e');
    const raised = [...exponent].map((c) => (c === '-' ? '⁻' : (RAISED[Number(c)] ?? '')));
    return `${digits}×10${raised.join('')}`;
  });
}

export function fixed(x: number | null | undefined, digits = 1): string {
  return written(x, (number) => number.toFixed(digits).replace('-', '−'));
}

/** A number that may be large: `63.4`, `1,240`, `3.1×10⁷`. */
export function large(x: number | null | undefined): string {
  return written(x, (number) => {
    if (number >= 1e5) return power(number);
    return number >= 1000 ? Math.round(number).toLocaleString('en') : number.toFixed(1);
  });
}

/** Blank where nothing was measured, and said where the number is none. */
function written(x: number | null | undefined, write: (x: number) => string): string {
  if (x === undefined || x === null) return '';
  return Number.isFinite(x) ? write(x) : 'not finite';
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

/** The largest update first; one whose norm is no number is larger than any. */
export function bySize<Edit extends { readonly normalised_update: number }>(edits: readonly Edit[]): Edit[] {
  const size = ({ normalised_update: x }: Edit): number => (Number.isNaN(x) ? Infinity : x);
  return edits.toSorted((a, b) => Number(size(b) > size(a)) - Number(size(b) < size(a)));
}
