/** What the report says in words: what the numbers say, in sentences, and how numbers and text are written. */
import { median } from '../../statistics.ts';
import { plural } from '../../numerals.ts';
import { printableLines } from '../../printable.ts';
import { methodsOf, summariseMethod } from '../summary.ts';
import { bestLayer, recommendedLayer } from '../trace-average.ts';
import type { Study } from './study.ts';
import { title, type AnyMethod } from './theme.ts';

/** The top of a report, in sentences of HTML. */
export function findings(study: Study): string[] {
  return [...ofSequences(study), ...ofManyFacts(study), ...ofSingleEdits(study), ...ofLayers(study)];
}

function ofSequences({ sequences = [] }: Study): string[] {
  return sequences.flatMap(({ method, lines }) => {
    const bad = lines.filter(({ verdict }) => verdict !== 'ok');
    const worst = bySize(lines)[0];
    if (!worst) return [];
    const times = worst.normalised_update / median(lines.map(({ normalised_update }) => normalised_update));
    const judged =
      bad.length === 0
        ? 'none of them suspect or disabling'
        : `${bad.length} of them suspect or disabling, the first at edit ${bad[0]?.edit ?? 0}`;
    const facts = lines.at(-1)?.edit ?? 0;
    const all =
      facts === lines.length
        ? `${plural(facts, 'edit')} in sequence`
        : `${plural(facts, 'fact')} in ${lines.length} ${lines.length === 1 ? 'batch' : 'batches'}`;
    return [
      `<b>${title(method)}</b>, ${all}: ${judged}. ` +
        `The largest |Δ| is ${power(worst.normalised_update)}, at edit ${worst.edit}: ${fixed(times)} times the median.`,
    ];
  });
}

/** At the most facts that were written, who keeps most of them, and at which price. */
function ofManyFacts({ sequel = [] }: Study): string[] {
  const before = sequel.find(({ method }) => method === undefined);
  const written = sequel.filter(({ method, anchored }) => method !== undefined && !anchored);
  const most = Math.max(0, ...written.map(({ facts }) => facts));
  const last = written.filter(({ facts }) => facts === most).toSorted((a, b) => (b.S ?? 0) - (a.S ?? 0));
  const each = last.map(
    ({ method, way, S, ES, perplexity }) =>
      `<b>${title(method as AnyMethod)}</b> ${way ?? ''}: S ${fixed(S)}, efficacy ${fixed(ES)}, perplexity ${large(perplexity)}`,
  );
  if (each.length === 0) return [];
  return [
    `${plural(most, 'fact')} in the same weights, all asked at the end (unedited: perplexity ${large(before?.perplexity)}): ${each.join('; ')}.`,
  ];
}

function ofSingleEdits({ evaluation }: Study): string[] {
  const { cases = [], seed = 0 } = evaluation ?? {};
  const methods = methodsOf(cases);
  if (methods.length === 0) return [];
  const each = methods.map((method) => {
    const { S, ES, disabling = 0 } = summariseMethod(cases, method, seed);
    const score = S === undefined ? '' : ` score ${fixed(S)} (efficacy ${fixed(ES)}),`;
    return `<b>${title(method)}</b>${score} ${plural(disabling, 'disabling edit')}`;
  });
  return [`${plural(cases.length, 'single edit')} of the unedited model: ${each.join('; ')}.`];
}

function ofLayers({ average, sweep = [] }: Study): string[] {
  const traced = average && recommendedLayer(average);
  const swept = bestLayer(sweep);
  const found: string[] = [];
  if (average && traced !== undefined) {
    const restored = average.effects.mlp?.['last subject token'][traced];
    found.push(
      `Causal tracing of ${plural(average.n, 'fact')} points to layer ${traced}: there the MLPs at the subject's last token restore most, ` +
        `${fixed(100 * (restored ?? NaN))} of the ${fixed(100 * (average.clean - average.corrupted))} points of probability that the noise takes.`,
    );
  }
  if (swept !== undefined)
    found.push(`Editing ${plural(sweep[0]?.n ?? 0, 'fact')} at each layer works best at layer ${swept}.`);
  if (traced !== undefined && swept !== undefined && traced !== swept)
    found.push(
      `Tracing and edits disagree: layer ${traced} against layer ${swept}. Tracing shows where a fact is recalled, which need not be where it is best written ` +
        `(Hase et al. 2023). For an edit layer go by the edits, but of enough facts: over ${plural(sweep[0]?.n ?? 0, 'fact')}, small differences between layers may be chance.`,
    );
  return found;
}

export const RAISED = [...'⁰¹²³⁴⁵⁶⁷⁸⁹'];

/** Text with the characters that HTML reads as markup written out, and those that no page should hold. */
export function escape(text: string): string {
  return printableLines(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
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
export function large(x: number | null | undefined, digits = 1): string {
  return written(x, (number) => {
    if (number >= 1e5) return power(number);
    return number >= 1000 ? Math.round(number).toLocaleString('en') : number.toFixed(digits);
  });
}

/** Blank where nothing was measured, and said where the number is none. */
function written(x: number | null | undefined, write: (x: number) => string): string {
  if (x === undefined || x === null) return '';
  return Number.isFinite(x) ? write(x) : 'not finite';
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
