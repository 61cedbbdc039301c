/** Ability 4: break it. Three methods side by side, the key turned away, and the paper's seventeenth edit. */
import { judge } from '../../src/edit/guard.ts';
import { METHOD_TABLE } from '../../src/edit/method.ts';
import { asFailure } from '../desk.ts';
import type { Desk, Finished } from '../desk.ts';
import type { Turn } from '../engine/protocol.ts';
import { ANGLES } from '../plan.ts';
import { strings } from '../strings.ts';
import { Curve } from '../ui/curve.ts';
import { definitions, digits, fill, h, shown, unique } from '../ui/dom.ts';
import { replayPiece } from './replay.ts';
import { piece, section } from './section.ts';

const text = strings.break;

const TOKENS = 24;

export function breaking(desk: Desk): HTMLElement {
  return section('break', 4, text.heading, text.lead, threeMethods(desk), turnPiece(desk), replayPiece(desk));
}

function threeMethods(desk: Desk): HTMLElement {
  const place = h('div', { class: 'three' }, h('p', { class: 'empty' }, text.need));
  const show = (report: Finished): void =>
    fill(
      place,
      report.outcomes.map((outcome) => {
        const row = METHOD_TABLE[outcome.method];
        const key = { mean: text.mean, prompt: text.prompt };
        const [first] = outcome.after.next;
        const facts: readonly (readonly [string, string])[] = [
          [text.uFrom, key[row.u]],
          [text.dividesBy, key[row.residual]],
          [strings.watch.rows.cosine, digits(outcome.cosine)],
          [strings.watch.rows.lambdaNorm, digits(outcome.lambdaNorm)],
          [strings.watch.rows.relativeUpdate, digits(outcome.relativeUpdate)],
          [text.answer, `${shown(first?.token ?? '')} ${strings.percent(Math.exp(first?.logprob ?? NaN))}`],
        ];
        return h(
          'div',
          { class: `method ${outcome.verdict}` },
          h('h4', {}, row.title),
          definitions('', facts),
          h('p', { class: `verdict ${outcome.verdict}` }, strings.change.verdict[outcome.verdict]),
        );
      }),
    );
  desk.on('report', show);
  desk.on('mode', (mode) => {
    if (mode === 'recorded' && desk.recorded) show(desk.recorded.report);
  });
  return piece(text.three, text.threeText, place);
}

function turnPiece(desk: Desk): HTMLElement {
  const id = unique('angle');
  const slider = h('input', { type: 'range', id, min: 0, max: 89.5, step: 0.5, value: 0, disabled: true });
  const output = h('output', { for: id });
  const curve = new Curve({
    title: text.curve,
    domain: [0, 90],
    log: true,
    format: digits,
    xLabel: '',
    unit: '°',
    className: 'turn',
  });
  const lines = { rome: h('p', { class: 'written' }), rRome: h('p', { class: 'written' }) };
  const readings = { rome: h('p', { class: 'reading-line' }), rRome: h('p', { class: 'reading-line' }) };
  const prompt = h('input', {
    type: 'text',
    id: unique('hear'),
    value: 'The mother tongue of Danielle Darrieux is',
  });
  const status = h('p', { class: 'status', role: 'status' });
  let turns: readonly Turn[] = [];
  let rescue = NaN;

  const at = (angle: number): Turn | undefined =>
    turns.reduce<Turn | undefined>(
      (best, turn) => (best && Math.abs(best.angle - angle) <= Math.abs(turn.angle - angle) ? best : turn),
      undefined,
    );
  /** Between two computed angles |Λ| goes as 1 / cos. */
  const between = (angle: number): number => {
    const near = at(angle);
    if (!near) return NaN;
    return (near.relativeUpdate * Math.cos((near.angle * Math.PI) / 180)) / Math.cos((angle * Math.PI) / 180);
  };
  const move = (): void => {
    const angle = Number(slider.value);
    const size = between(angle);
    output.textContent = text.degrees(angle);
    curve.set([
      ...turns.map((turn) => ({ x: turn.angle, y: turn.relativeUpdate, mark: false })),
      { x: angle, y: size, mark: true, loose: true },
      { x: 0, y: rescue, mark: false, other: true },
      { x: 90, y: rescue, mark: true, other: true },
    ]);
    const verdict = judge(Math.cos((angle * Math.PI) / 180), size);
    readings.rome.textContent = `ROME: |u Λᵀ| / |W| = ${digits(size)}, ${strings.watch.words[verdict]}`;
    readings.rome.className = `reading-line ${verdict}`;
    readings.rRome.textContent = `r-ROME: |u Λᵀ| / |W| = ${digits(rescue)}, ${strings.watch.words[judge(1, rescue)]}`;
  };
  let waiting = 0;
  const hear = async (): Promise<void> => {
    if (desk.mode !== 'live') return;
    const mine = (waiting += 1);
    status.textContent = '…';
    try {
      const found = await desk.ask((engine) => engine.turn(Number(slider.value), prompt.value, TOKENS));
      if (mine !== waiting) return;
      lines.rome.textContent = `${prompt.value}${found.rome}`;
      lines.rRome.textContent = `${prompt.value}${found.rRome}`;
      status.textContent = '';
    } catch (error) {
      status.textContent = asFailure(error).message;
    }
  };
  slider.addEventListener('input', move);
  slider.addEventListener('change', () => void hear());

  const show = (report: Finished, found: readonly Turn[]): void => {
    turns = found;
    rescue = report.outcomes.find(({ method }) => method === 'r-rome')?.relativeUpdate ?? NaN;
    const cosine = report.outcomes.find(({ method }) => method === 'rome')?.cosine ?? 1;
    slider.disabled = false;
    slider.value = String((Math.acos(cosine) * 180) / Math.PI);
    prompt.value = report.request.prompt.replace('{}', () => report.request.subject);
    for (const line of Object.values(lines)) line.textContent = '';
    move();
  };
  desk.on('report', (report) => {
    if (desk.mode === 'live')
      void desk
        .ask((engine) => engine.turns(ANGLES))
        .then(
          (found) => show(report, found),
          (error: unknown) => (status.textContent = asFailure(error).message),
        );
  });
  desk.on('mode', (mode) => {
    if (mode === 'recorded' && desk.recorded) show(desk.recorded.report, desk.recorded.turns);
  });

  return piece(
    text.turn,
    text.turnText,
    h(
      'div',
      { class: 'columns' },
      h(
        'div',
        {},
        h('label', { for: id }, text.angle),
        h('div', { class: 'slide' }, slider, output),
        readings.rome,
        readings.rRome,
        curve.element,
      ),
      h(
        'div',
        {},
        h('label', { for: prompt.id }, text.continueWith),
        h(
          'div',
          { class: 'joined' },
          prompt,
          h('button', { type: 'button', onclick: () => void hear() }, text.hear),
        ),
        h('h4', {}, 'ROME'),
        lines.rome,
        h('h4', {}, 'r-ROME'),
        lines.rRome,
        status,
      ),
    ),
  );
}
