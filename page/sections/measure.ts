/** Ability 6: measure this GPU. */
import type { Desk } from '../desk.ts';
import type { Measurement } from '../engine/protocol.ts';
import { strings } from '../strings.ts';
import { bar } from '../ui/bars.ts';
import { definitions, fill, h } from '../ui/dom.ts';
import { piece, section, stoppable } from './section.ts';

const text = strings.measure;

export function measure(desk: Desk): HTMLElement {
  const run = h('button', { type: 'button', class: 'primary', disabled: true }, text.run);
  const status = h('p', { class: 'status', role: 'status' });
  const figure = h('div', { class: 'ladder' });
  const about = h('div', {});
  const json = h('pre', { class: 'json', tabindex: '0', 'aria-label': text.json });
  const copied = h('span', { role: 'status' });
  const copy = h('button', { type: 'button' }, text.copy);
  const share = h(
    'div',
    { hidden: true },
    h('h3', {}, text.json),
    h('div', { class: 'actions' }, copy, copied),
    json,
  );
  const found: Measurement[] = [];
  const start = stoppable(desk, run, status, text, async () => {
    found.length = 0;
    fill(figure);
    share.hidden = true;
    try {
      await desk.measure((one, done, total) => {
        found.push(one);
        status.textContent = text.running(done, total);
        fill(figure, charts(found));
      });
      status.textContent = '';
    } finally {
      json.textContent = JSON.stringify(reportOf(desk, found), undefined, 2);
      share.hidden = found.length === 0;
    }
  });
  run.addEventListener('click', () => void start());
  copy.addEventListener('click', () => {
    navigator.clipboard.writeText(json.textContent ?? '').then(
      () => (copied.textContent = text.copied),
      () => {
        copied.textContent = text.notCopied;
        getSelection()?.selectAllChildren(json);
      },
    );
  });
  desk.on('mode', (mode) => {
    run.disabled = mode !== 'live';
    status.textContent = mode === 'recorded' ? strings.status.needsGpu : '';
    const { opened } = desk;
    if (!opened) return;
    const limits = Object.entries(opened.limits).map(
      ([name, limit]) => [name, strings.count(limit)] as const,
    );
    fill(about, definitions('limits', [[text.adapter, opened.adapter.description], ...limits]));
  });

  return section(
    'measure',
    6,
    text.heading,
    text.lead,
    h('div', { class: 'actions' }, run, status),
    figure,
    share,
    piece(text.limits, '', about),
  );
}

/** A chart a shape, and one of copies. */
function charts(found: readonly Measurement[]): HTMLElement[] {
  const groups = Map.groupBy(found, ({ family, shape }) => `${family} ${shape}`);
  return [...groups.values()].map((group) => {
    const [{ family, shape }] = group as [Measurement, ...Measurement[]];
    const best = Math.max(...group.map(({ rate }) => (Number.isFinite(rate) ? rate : 0)));
    const say = family === 'matmul' ? text.flops : text.bytes;
    return h(
      'figure',
      { class: 'bars' },
      h('figcaption', {}, family === 'matmul' ? text.products(shape) : text.copies),
      h(
        'ol',
        {},
        group.map(({ name, rate, chosen }) =>
          bar(
            chosen ? 'new' : 'old',
            rate / best,
            [name, chosen && h('span', { class: 'kind' }, text.chosen)],
            Number.isFinite(rate) ? `${say(rate)}, ${Math.round((100 * rate) / best)} %` : text.wrong,
          ),
        ),
      ),
    );
  });
}

/** What to paste into an issue. */
function reportOf({ opened }: Desk, found: readonly Measurement[]): object {
  return {
    schema: 'palimpsest.gpu/1',
    palimpsest: __VERSION__,
    browser: navigator.userAgent,
    adapter: opened?.adapter,
    limits: opened?.limits,
    measured: found.map(({ family, name, shape, ms, rate, chosen }) => ({
      ...{ family, name, shape, ms, chosen },
      ...(family === 'matmul' ? { gflops: rate / 1e9 } : { gigabytes_per_second: rate / 1e9 }),
    })),
  };
}
