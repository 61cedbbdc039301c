/** What `sequence` prints when it has ended: the measurements, and the largest edits. */
import { sentence } from '../src/edit/template.ts';
import type { SequenceHead, SequenceLine } from '../src/lab/sequence.ts';
import { short } from './text.ts';
import type { Terminal } from './terminal.ts';

const RIGHT = { align: 'right' } as const;
const WORST = 5;
const MOST_ROWS = 12;

export function showEnd(terminal: Terminal, head: SequenceHead, lines: readonly SequenceLine[]): void {
  const measured = lines.filter(({ metrics }) => metrics !== undefined);
  // Of many measurements a few, the last among them.
  const step = Math.ceil(measured.length / MOST_ROWS);
  const shown = measured.filter((_, i) => (measured.length - 1 - i) % step === 0);
  const { before } = head;
  if (before.perplexity !== undefined) {
    terminal.heading('The model while it is edited');
    terminal.table(
      [
        { title: 'edits' },
        ...['|W - W0|/|W0|', 'perplexity', 'entropy', 'ES recent', 'ES earlier', 'NS recent'].map(
          (title) => ({ title, ...RIGHT }),
        ),
      ],
      [
        ['0', '0', ...language(before), '', '', ''],
        ...shown.map((line) => [
          String(line.edit),
          short(line.relative_total),
          ...language(line),
          percent(line.metrics?.recent.values.ES),
          percent(line.metrics?.earlier.values.ES),
          percent(line.metrics?.recent.values.NS),
        ]),
      ],
    );
  }
  terminal.heading('The largest edits');
  const largest = lines.toSorted((a, b) => b.update_norm - a.update_norm).slice(0, WORST);
  terminal.table(
    [
      { title: 'edit' },
      { title: '|Δ|', ...RIGHT },
      { title: 'cosine', ...RIGHT },
      { title: 'verdict' },
      { title: 'kept' },
      { title: 'fact' },
    ],
    largest.map(({ edit, update_norm, cosine, verdict, kept, prompt, subject, target_new }) => [
      String(edit),
      short(update_norm),
      short(cosine),
      verdict,
      kept ? 'yes' : 'no',
      `${sentence({ prompt, subject: `[${subject}]` })} → ${target_new}`,
    ]),
  );
  terminal.print();
}

function language({ perplexity, entropy }: Pick<SequenceLine, 'perplexity' | 'entropy'>): [string, string] {
  return [perplexity === undefined ? '' : short(perplexity), entropy === undefined ? '' : entropy.toFixed(3)];
}

function percent(value: number | undefined): string {
  return value === undefined ? '' : value.toFixed(1);
}
