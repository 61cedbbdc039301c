/** Numbers as people read them, with the digits that mean something. */

/** `1 edit`, `3 edits`. */
export function plural(n: number, what: string): string {
  return `${n.toLocaleString('en')} ${what}${n === 1 ? '' : 's'}`;
}

/** Bytes as people read them. */
export function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** A probability from its logarithm: `98.21 %`, `0.0047 %`, `3e-7 %`. */
export function percent(logprob: number): string {
  const p = 100 * Math.exp(logprob);
  if (!(p > 0)) return p === 0 ? '0 %' : 'NaN';
  if (p >= 0.01) return `${p.toFixed(2)} %`;
  return `${p >= 1e-4 ? p.toPrecision(2) : p.toExponential(0)} %`;
}

/** Four digits that mean something. */
export function short(x: number): string {
  if (!Number.isFinite(x)) return String(x);
  if (x === 0) return '0';
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return x.toExponential(2);
  return x.toFixed(Math.max(0, 3 - Math.max(0, Math.floor(Math.log10(size)))));
}

/** Milliseconds, or any number, with three digits. */
export function ms(x: number): string {
  if (!Number.isFinite(x)) return '';
  return x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x >= 1 ? x.toFixed(2) : x.toFixed(3);
}

/** In units of 10⁹. */
export function giga(x: number): string {
  const g = x / 1e9;
  if (!Number.isFinite(g)) return '';
  return g >= 100 ? g.toFixed(0) : g >= 0.095 ? g.toFixed(1) : g.toFixed(2);
}

export function percentOf(part: number, whole: number): string {
  return Number.isFinite(part / whole) ? String(Math.round((100 * part) / whole)) : '';
}

/** A time as people say it. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
