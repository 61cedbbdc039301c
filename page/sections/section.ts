/** What all six parts of the page look like from outside: a number, a heading, a sentence, and their content. */
import { h } from '../ui/dom.ts';
import type { Child } from '../ui/dom.ts';

export function section(
  id: string,
  number: number,
  heading: string,
  lead: string,
  ...content: readonly Child[]
): HTMLElement {
  return h(
    'section',
    { class: 'part', id, 'aria-labelledby': `${id}-heading` },
    h(
      'header',
      {},
      h('p', { class: 'number', 'aria-hidden': 'true' }, String(number)),
      h('h2', { id: `${id}-heading`, tabindex: '-1' }, heading),
      h('p', { class: 'lead' }, lead),
    ),
    content,
  );
}

/** A part of a part. */
export function piece(heading: string, note: string, ...content: readonly Child[]): HTMLElement {
  return h(
    'div',
    { class: 'piece' },
    h('h3', {}, heading),
    note !== '' && h('p', { class: 'note' }, note),
    content,
  );
}
