/** The next tokens as bars: how likely each is, before and after. */
import type { NextToken } from '../../src/models/predict.ts';
import { strings } from '../strings.ts';
import { h, shown } from './dom.ts';
import type { Child } from './dom.ts';

export interface BarsOptions {
  readonly title: string;
  readonly next: readonly NextToken[];
  /** Tokens that have a colour of their own: the new answer, and the one that was there. */
  readonly target?: string | undefined;
  readonly old?: string | undefined;
  readonly count?: number;
}

/** A line of a chart: its name, a bar of a part `p` of the width, and the number. */
export function bar(kind: string, p: number, name: Child, value: string): HTMLElement {
  return h(
    'li',
    { class: `bar ${kind}`, vars: { p: Number.isFinite(p) ? p : 0 } },
    h('span', { class: 'token' }, name),
    h('span', { class: 'track', 'aria-hidden': 'true' }, h('span', { class: 'fill' })),
    h('span', { class: 'value' }, value),
  );
}

export function bars({ title, next, target, old, count = 6 }: BarsOptions): HTMLElement {
  const rows = next.slice(0, count).map(({ token, logprob }) => {
    const p = Math.exp(logprob);
    const kind = token === target ? 'new' : token === old ? 'old' : '';
    return bar(kind, p, shown(token), strings.percent(p));
  });
  return h('div', { class: 'bars' }, h('h4', {}, title), h('ol', {}, rows));
}
