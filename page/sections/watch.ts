/** Ability 2: watch an edit happen, number by number. */
import { METHOD_TABLE } from '../../src/edit/method.ts';
import { asFailure } from '../desk.ts';
import type { Desk, Finished } from '../desk.ts';
import type { Matrix, TokenStrip } from '../engine/protocol.ts';
import { strings } from '../strings.ts';
import { Curve } from '../ui/curve.ts';
import { fill, h, shown } from '../ui/dom.ts';
import { grid } from '../ui/grid.ts';
import { matrixHeat, vectorHeat } from '../ui/heat.ts';
import { piece, section } from './section.ts';

const text = strings.watch;
const STEPS = 20;
const SHORT = 3;

/** Vectors in the order in which they are found. */
export const VECTORS = ['k', 'kMean', 'u', 'v0', 'delta', 'vStar', 'lambda'] as const;

const digits = (x: number): string =>
  x === 0 ? '0' : Math.abs(x) < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));

export function watch(desk: Desk): HTMLElement {
  const lead = h('p', { class: 'note', hidden: true });
  const strip = h('div', {});
  const loss = new Curve({
    ...{ title: text.loss, domain: [1, STEPS], format: digits, xLabel: text.step, className: 'loss' },
  });
  const probability = new Curve({
    ...{
      title: text.probability,
      domain: [1, STEPS],
      range: [0, 1],
      format: strings.percent,
      xLabel: text.step,
    },
  });
  const search = h('p', { class: 'note' });
  const stream = h('div', {});
  const vectors = h('div', { class: 'vectors' });
  const weights = h('div', {});
  const numbers = h('div', {});

  const waiting = h('p', { class: 'lead' }, text.waiting);
  const pictures = h(
    'div',
    { hidden: true },
    piece(text.tokens, '', strip),
    piece(text.search, '', search, h('div', { class: 'pair' }, loss.element, probability.element)),
    piece(text.flow, '', stream),
    piece(text.vectors, text.vectorText, vectors),
    piece(text.weight, '', weights),
    piece(text.numbers, '', numbers),
  );
  const open = (): void => {
    waiting.hidden = true;
    pictures.hidden = false;
  };

  desk.on('begin', () => {
    open();
    loss.set([]);
    probability.set([]);
  });
  desk.on('event', (event) => {
    if (event.kind === 'tokens') showStrip(strip, event.strip);
    if (event.kind !== 'step') return;
    loss.add({ x: event.step + 1, y: event.row.loss, mark: event.step === 0 });
    probability.add({ x: event.step + 1, y: event.row.probability, mark: event.step === 0 });
  });
  desk.on('mode', (mode) => {
    if (mode === 'recorded' && desk.recorded) show(desk.recorded.report);
  });
  desk.on('report', (report) => show(report));

  function show(report: Finished): void {
    open();
    lead.hidden = false;
    lead.textContent = desk.mode === 'recorded' ? text.leadRecorded : text.lead;
    showStrip(strip, report.strip);
    const { trace } = report;
    const ends = (i: number): boolean => i === 0 || i === trace.length - 1;
    loss.set(trace.map((row, i) => ({ x: i + 1, y: row.loss, mark: ends(i) })));
    probability.set(trace.map((row, i) => ({ x: i + 1, y: row.probability, mark: ends(i) })));
    search.textContent = text.searchText(trace.length, report.stepTokens);
    showStream(report);
    fill(
      vectors,
      VECTORS.map((name) => vectorFigure(report, name)),
    );
    const most = Math.max(...report.weight.values, ...report.change.values);
    const relative = digits(report.outcomes[0]?.relativeUpdate ?? NaN);
    fill(
      weights,
      h('p', { class: 'note' }, text.weightText(relative)),
      h(
        'div',
        { class: 'pair' },
        (['weight', 'change'] as const).map((name) => {
          const label = name === 'weight' ? '|W|' : '|u Λᵀ|';
          return h(
            'figure',
            {},
            matrixHeat(report[name], { label, scale: most, old: name === 'weight' }),
            h('figcaption', {}, label),
          );
        }),
      ),
    );
    fill(numbers, numberTable(report));
  }

  function showStream(report: Finished, traced?: Matrix): void {
    const kind = traced ? 'trace' : 'flow';
    const note = traced ? text.traceText : text.flowText(report.layer);
    const button = h('button', { type: 'button' }, traced ? text.flowButton : text.trace);
    button.addEventListener('click', () => {
      if (traced) showStream(report);
      else void trace(report, button);
    });
    fill(
      stream,
      h('p', { class: 'note' }, note),
      grid({
        ...{ tokens: report.strip.tokens, values: traced ?? report.flow, label: note, kind },
        site: { token: report.strip.lookup, layer: report.layer },
      }),
      button,
    );
  }

  async function trace(report: Finished, button: HTMLButtonElement): Promise<void> {
    button.disabled = true;
    try {
      const { prompt, subject } = report.request;
      const found =
        desk.mode === 'recorded'
          ? (desk.recorded as { trace: Matrix }).trace
          : await desk.trace({ prompt, subject }, (done, total) => {
              button.textContent = text.tracing(done, total);
            });
      showStream(report, found);
    } catch (error) {
      button.disabled = false;
      button.textContent = asFailure(error).message || text.trace;
    }
  }

  return section('watch', 2, text.heading, '', lead, waiting, pictures);
}

function showStrip(element: HTMLElement, { tokens, lookup }: TokenStrip): void {
  fill(
    element,
    h(
      'ol',
      { class: 'strip' },
      tokens.map((token, i) => h('li', { class: i === lookup ? 'site' : '' }, shown(token))),
    ),
    h('p', { class: 'note' }, text.tokensText(shown(tokens[lookup] ?? ''), lookup)),
  );
}

/** One vector as a picture, with its first numbers for who cannot see it. */
export function vectorFigure(report: Finished, name: (typeof VECTORS)[number]): HTMLElement {
  const values = report.vectors[name];
  const label = text.names[name];
  const first = [...values.slice(0, SHORT)].map((x) => x.toFixed(3)).join(', ');
  return h(
    'figure',
    { class: 'vector', 'data-symbol': name },
    h('figcaption', {}, label, h('span', { class: 'kind' }, `[${values.length}]`)),
    vectorHeat(values, { label: `${label}: ${first}, …` }),
  );
}

function numberTable(report: Finished): HTMLElement {
  const row = (name: string, values: readonly string[]): HTMLElement =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, name),
      values.map((value) => h('td', {}, value)),
    );
  const numbers = (['divisor', 'cosine', 'lambdaNorm', 'normalisedUpdate', 'relativeUpdate'] as const).map(
    (name) =>
      row(
        text.rows[name],
        report.outcomes.map((outcome) => digits(outcome[name])),
      ),
  );
  return h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': text.numbers },
    h(
      'table',
      { class: 'numbers' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('td', {}),
          report.outcomes.map(({ method }) => h('th', { scope: 'col' }, METHOD_TABLE[method].title)),
        ),
      ),
      h(
        'tbody',
        {},
        numbers,
        row(
          text.rows.success,
          report.outcomes.map(({ success }) => text.words[success]),
        ),
        row(
          text.rows.verdict,
          report.outcomes.map(({ verdict }) => text.words[verdict]),
        ),
      ),
    ),
    h(
      'p',
      { class: 'note' },
      `${text.rows.residual} ${digits(report.solved.residual)} · ${text.rows.tokens} ${strings.count(report.solved.tokens)}`,
    ),
  );
}
