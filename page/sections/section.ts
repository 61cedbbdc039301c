/** What all six parts of the page look like from outside: a number, a heading, a sentence, and their content. */
import { asFailure } from '../desk.ts';
import type { Desk } from '../desk.ts';
import { strings } from '../strings.ts';
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

/** A button that begins work and, while that runs, ends it; what goes wrong is said. @returns what pressing it does */
export function stoppable(
  desk: Desk,
  button: HTMLElement,
  status: HTMLElement,
  words: { readonly run: string; readonly stop: string },
  work: () => Promise<void>,
): () => Promise<void> {
  let running = false;
  return async () => {
    if (running) return desk.cancel();
    running = true;
    button.textContent = words.stop;
    try {
      await work();
    } catch (error) {
      const { code, message } = asFailure(error);
      status.textContent = code === 'stopped' ? strings.status.stopped : message;
    } finally {
      running = false;
      button.textContent = words.run;
    }
  };
}

/** Of a form whose page stays. */
export function onSubmit(work: () => unknown): (event: Event) => void {
  return (event) => {
    event.preventDefault();
    void work();
  };
}
