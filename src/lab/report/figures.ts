/** All figures, in the order in which a report tells them. */
import { downstream } from './figures/downstream.ts';
import { entropyByUpdate } from './figures/entropy-by-update.ts';
import { forgetting } from './figures/forgetting.ts';
import { languageByEdit } from './figures/language-by-edit.ts';
import { lossCurves } from './figures/loss-curves.ts';
import { metricsByEdit } from './figures/metrics-by-edit.ts';
import { styles } from './figures/styles.ts';
import { sweep } from './figures/sweep.ts';
import { totalByEdit } from './figures/total-by-edit.ts';
import { traceAverage } from './figures/trace-average.ts';
import { traceFact } from './figures/trace-fact.ts';
import { updateByEdit } from './figures/update-by-edit.ts';
import type { Figure, Study } from './study.ts';

export interface Section {
  readonly heading: string;
  readonly figures: readonly Figure[];
}

const SECTIONS: readonly (readonly [
  heading: string,
  draw: readonly ((study: Study) => Figure | undefined)[],
])[] = [
  [
    'One edit after another',
    [updateByEdit, totalByEdit, languageByEdit, metricsByEdit, forgetting, downstream],
  ],
  ['Single edits', [entropyByUpdate, styles, lossCurves]],
  ['Where to edit', [traceAverage, traceFact, sweep]],
];

/** Sections with something in them. */
export function sections(study: Study): Section[] {
  return SECTIONS.map(([heading, list]) => ({
    heading,
    figures: list.flatMap((draw) => draw(study) ?? []),
  })).filter(({ figures }) => figures.length > 0);
}
