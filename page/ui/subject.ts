/** A sentence, and its words to choose the subject from. */
import { strings } from '../strings.ts';
import { fill, h, unique } from './dom.ts';

const text = strings.change;

interface Word {
  readonly start: number;
  readonly end: number;
}

export class SubjectPicker {
  readonly element: HTMLElement;
  readonly #input: HTMLInputElement;
  readonly #words = h('div', { class: 'words', role: 'group', 'aria-label': text.subject });
  /** First and last word of the subject. */
  #range: readonly [number, number] | undefined;

  constructor(first: { readonly prompt: string; readonly subject: string }) {
    const id = unique('sentence');
    this.#input = h('input', { type: 'text', id, autocomplete: 'off', spellcheck: 'false' });
    this.#input.addEventListener('input', () => {
      this.#range = undefined;
      this.#show();
    });
    this.element = h(
      'div',
      { class: 'picker' },
      h('label', { for: id }, text.sentence),
      this.#input,
      h('p', { class: 'label' }, text.subject),
      this.#words,
    );
    this.set(first);
  }

  set({ prompt, subject }: { readonly prompt: string; readonly subject: string }): void {
    const at = prompt.indexOf('{}');
    this.#input.value = prompt.replace('{}', () => subject);
    const end = at + subject.length;
    const inside = this.#list().flatMap((word, i) => (word.start < end && word.end > at ? [i] : []));
    this.#range = inside.length > 0 ? [inside[0] ?? 0, inside.at(-1) ?? 0] : undefined;
    this.#show();
  }

  get sentence(): string {
    return this.#input.value;
  }

  /** Prompt with `{}`, and subject: the engine says what is wrong with them. */
  request(): { prompt: string; subject: string } {
    const sentence = this.#input.value;
    const words = this.#list();
    const [from, to] = this.#range ? [words[this.#range[0]], words[this.#range[1]]] : [];
    if (!from || !to) return { prompt: sentence, subject: '' };
    return {
      prompt: `${sentence.slice(0, from.start)}{}${sentence.slice(to.end)}`,
      subject: sentence.slice(from.start, to.end),
    };
  }

  #list(): Word[] {
    // A comma or a full stop after a name is not part of it, a stop inside one is.
    return [...this.#input.value.matchAll(/[^\s,;:!?]+/g)].map(({ 0: word, index }) => ({
      start: index,
      end: index + word.length,
    }));
  }

  #show(): void {
    const sentence = this.#input.value;
    const words = this.#list();
    const [from, to] = this.#range ?? [Infinity, -Infinity];
    fill(
      this.#words,
      words.length === 0 && h('span', { class: 'empty' }, text.noSubject),
      words.map((word, i) =>
        h(
          'button',
          {
            type: 'button',
            class: 'word',
            'aria-pressed': String(i >= from && i <= to),
            onclick: () => this.#choose(i),
          },
          sentence.slice(word.start, word.end),
        ),
      ),
    );
  }

  /** A word beside the subject joins it, one at its end leaves it, any other begins a new one. */
  #choose(i: number): void {
    const [from, to] = this.#range ?? [-9, -9];
    if (i === from - 1) this.#range = [i, to];
    else if (i === to + 1) this.#range = [from, i];
    else if (i === from && i === to) this.#range = undefined;
    else if (i === from) this.#range = [from + 1, to];
    else if (i === to) this.#range = [from, to - 1];
    else this.#range = [i, i];
    this.#show();
    (this.#words.children[i] as HTMLElement | undefined)?.focus();
  }
}
