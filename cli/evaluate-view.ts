/** The tables of `evaluate`. */
import { sentence } from '../src/edit/template.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Dangerous, MethodSummary } from '../src/lab/summary.ts';
import { short } from './text.ts';
import type { Terminal } from './terminal.ts';

const RIGHT = { align: 'right' } as const;
const COMPARED = ['ES', 'PS', 'NS', 'S'] as const;
const FIRST = ['EM', 'PM', 'NM'] as const;
const TEXTS = ['GE', 'entropy', 'RS'] as const;
const TOKENS = ['rewrite_acc', 'paraphrase_acc', 'locality_acc', 'locality_agreement'] as const;
const MOST_LISTED = 20;

const FAMILIES: readonly (readonly [title: string, names: readonly (keyof MethodSummary['interval'])[]])[] = [
  ['by comparison of both objects, percent', COMPARED],
  ['by arg-max: every token of the object first, percent', FIRST],
  ['share of answer tokens predicted, percent', TOKENS],
  ['generated texts: n-gram entropy × 100, word entropy 0 to 1, TF-IDF cosine × 100', TEXTS],
];

/** A table a family of metrics, with 95 % intervals; families that no record has are left out. */
export function showSummaries(terminal: Terminal, summaries: readonly MethodSummary[]): void {
  for (const [title, names] of FAMILIES) {
    const known = names.filter((name) => summaries.some((summary) => summary[name] !== undefined));
    if (known.length === 0) continue;
    terminal.print();
    terminal.say(title, '', 'dim');
    terminal.table(
      [{ title: '' }, ...known.map((name) => ({ title: name, ...RIGHT }))],
      summaries
        .filter((summary) => known.some((name) => summary[name] !== undefined))
        .map((summary) => [
          summary.method === 'before' ? 'unedited' : METHOD_TABLE[summary.method].title,
          ...known.map((name) => cell(summary[name], summary.interval[name], name === 'entropy' ? 3 : 1)),
        ]),
    );
  }
}

export function showDangerous(terminal: Terminal, list: readonly Dangerous[]): void {
  const disabling = list.filter(({ verdict }) => verdict === 'disabling').length;
  terminal.print();
  terminal.say(`${disabling} disabling and ${list.length - disabling} suspect edits.`);
  if (list.length === 0) return;
  terminal.table(
    [
      { title: 'case' },
      { title: 'method' },
      { title: 'verdict' },
      { title: 'cosine', ...RIGHT },
      { title: '|Δ|/|W|', ...RIGHT },
      { title: '|Δ| per element', ...RIGHT },
      { title: 'edit' },
    ],
    list
      .slice(0, MOST_LISTED)
      .map(
        ({
          case_id,
          method,
          verdict,
          cosine,
          relative_update,
          normalised_update,
          prompt,
          subject,
          target_new,
        }) => [
          String(case_id),
          METHOD_TABLE[method].title,
          verdict,
          short(cosine),
          short(relative_update),
          normalised_update.toExponential(2),
          `${sentence({ prompt, subject: `[${subject}]` })} → ${target_new}`,
        ],
      ),
  );
}

function cell(
  value: number | undefined,
  interval: readonly [number, number] | undefined,
  digits: number,
): string {
  if (value === undefined) return '';
  const range = interval ? ` [${interval[0].toFixed(digits)}, ${interval[1].toFixed(digits)}]` : '';
  return value.toFixed(digits) + range;
}
