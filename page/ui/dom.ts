/** Elements from tags, properties and children. A string becomes a text node, never markup. */
import { printable } from '../../src/printable.ts';

export type Child = Node | string | undefined | false | readonly Child[];

type Listeners = {
  readonly [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => void;
};

export type Props = Listeners & {
  readonly class?: string;
  /** Custom properties of CSS, for what a style sheet cannot know. */
  readonly vars?: Readonly<Record<string, string | number>>;
  readonly [attribute: string]: unknown;
};

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  assign(element, props);
  append(element, children);
  return element;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  assign(element, props);
  append(element, children);
  return element;
}

/** Puts children in the place of what an element holds. */
export function fill(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren();
  append(element, children);
}

function append(element: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (child === undefined || child === false) continue;
    if (child instanceof Node || typeof child === 'string') element.append(child);
    else append(element, child);
  }
}

function assign(element: HTMLElement | SVGElement, props: Props): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value as EventListener);
    else if (name === 'vars')
      for (const [key, given] of Object.entries(value as Record<string, string | number>))
        element.style.setProperty(`--${key}`, String(given));
    else element.setAttribute(name, value === true ? '' : String(value));
  }
}

let names = 0;

/** An id that no other element has. */
export function unique(stem: string): string {
  names += 1;
  return `${stem}-${names}`;
}

/** A number in three digits, without zeros at its end. */
export function digits(x: number): string {
  return String(Number(x.toPrecision(3)));
}

/** A token on one line: a blank in front is part of it, a line break is seen, what turns text round is written out. */
export function shown(token: string): string {
  return printable(token.replace(/\n/g, '↵').replace(/^ /, '␣'));
}

/** Names and what they stand for. */
export function definitions(kind: string, rows: readonly (readonly [string, string])[]): HTMLElement {
  return h(
    'dl',
    { class: kind },
    rows.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );
}
