/** What the numbers say, in sentences of HTML: the top of a report. */
import type { Method } from '../../edit/method.ts';
import { median } from '../../statistics.ts';
import { summariseMethod } from '../evaluate-summary.ts';
import { bestLayer } from '../sweep.ts';
import { recommendedLayer } from '../trace-average.ts';
import { bySize, count, fixed, power } from './numbers.ts';
import type { Study } from './study.ts';
import { title } from './theme.ts';

export function findings(study: Study): string[] {
  return [...ofSequences(study), ...ofSingleEdits(study), ...ofLayers(study)];
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
    return [
      `<b>${title(method)}</b>, ${count(lines.length, 'edit')} in sequence: ${judged}. ` +
        `The largest |Δ| is ${power(worst.normalised_update)}, at edit ${worst.edit}: ${fixed(times)} times the median.`,
    ];
  });
}

function ofSingleEdits({ evaluation }: Study): string[] {
  const { cases = [], seed = 0 } = evaluation ?? {};
  const methods = [...new Set(cases.flatMap(({ methods }) => Object.keys(methods) as Method[]))];
  if (methods.length === 0) return [];
  const each = methods.map((method) => {
    const { S, ES, disabling = 0 } = summariseMethod(cases, method, seed);
    const score = S === undefined ? '' : ` score ${fixed(S)} (efficacy ${fixed(ES)}),`;
    return `<b>${title(method)}</b>${score} ${count(disabling, 'disabling edit')}`;
  });
  return [`${count(cases.length, 'single edit')} of the unedited model: ${each.join('; ')}.`];
}

function ofLayers({ average, sweep = [] }: Study): string[] {
  const traced = average && recommendedLayer(average);
  const swept = bestLayer(sweep);
  const found: string[] = [];
  if (average && traced !== undefined) {
    const restored = average.effects.mlp?.['last subject token'][traced];
    found.push(
      `Causal tracing of ${count(average.n, 'fact')} points to layer ${traced}: there the MLPs at the subject's last token restore most, ` +
        `${fixed(100 * (restored ?? NaN))} of the ${fixed(100 * (average.clean - average.corrupted))} points of probability that the noise takes.`,
    );
  }
  if (swept !== undefined)
    found.push(`Editing ${count(sweep[0]?.n ?? 0, 'fact')} at each layer works best at layer ${swept}.`);
  if (traced !== undefined && swept !== undefined && traced !== swept)
    found.push(
      `Tracing and edits disagree: layer ${traced} against layer ${swept}. Tracing shows where a fact is recalled, which need not be where it is best written ` +
        `(Hase et al. 2023). To choose an edit layer, trust the edits, and the more so the more facts were edited.`,
    );
  return found;
}
