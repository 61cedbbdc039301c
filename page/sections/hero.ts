/** The first screen: a sentence, the model's answer, and one button. */
import { EXAMPLES } from '../examples.ts';
import type { Desk } from '../desk.ts';
import { asFailure } from '../desk.ts';
import type { EditEvent, Wish } from '../engine/protocol.ts';
import { strings } from '../strings.ts';
import { h } from '../ui/dom.ts';

const text = strings.hero;
const [demo] = EXAMPLES;
const [before, after] = demo.prompt.split('{}') as [string, string];

/** The edit of the button. */
const DEMO: Wish = {
  prompt: demo.prompt,
  subject: demo.subject,
  target: demo.target,
  method: 'r-rome',
  watched: [...demo.paraphrases, ...demo.neighbours],
};

export function hero(desk: Desk): HTMLElement {
  const old = h('span', { class: 'under' });
  const fresh = h('span', { class: 'over' });
  const slot = h('span', { class: 'slot', vars: { p: 0 } }, old, fresh);
  const status = h('p', { class: 'status', role: 'status' });
  const bar = h('progress', { class: 'load', max: 1, value: 0, 'aria-label': text.preparing });
  const button = h('button', { class: 'primary', type: 'button', disabled: true });
  const more = h('a', { class: 'more', href: '#watch', hidden: true }, text.readOn);
  const about = h('p', { class: 'about' }, text.about);
  button.textContent = text.button(demo.target);

  let state: 'waiting' | 'ready' | 'running' | 'done' = 'waiting';
  let ours = false;
  let undoing = false;
  /** The edit that the screen shows. */
  let shownId = '';
  const say = (line: string): void => void (status.textContent = line);
  const show = (p: number): void => slot.style.setProperty('--p', p.toFixed(4));
  const adapter = (): string => desk.opened?.adapter.description ?? '';

  desk.on('applied', (applied) => {
    // Edits that came or went elsewhere on the page: what does the model say now?
    const there = state === 'done' && applied.some(({ id }) => id === shownId);
    if ((state === 'ready' || state === 'done') && !undoing && !there) void ask().catch(() => undefined);
  });

  const ready = (): void => {
    state = 'ready';
    bar.hidden = true;
    button.disabled = false;
    more.hidden = true;
    button.textContent =
      desk.mode === 'recorded' ? text.recordedButton(demo.target) : text.button(demo.target);
  };

  const ask = async (): Promise<void> => {
    const sentence = `${before}${demo.subject}${after}`;
    const prediction =
      desk.mode === 'recorded' ? desk.recorded?.report.before : await desk.engine.predict(sentence, 10);
    const [first] = prediction?.next ?? [];
    old.textContent = first?.token.trim() ?? '';
    fresh.textContent = '';
    show(0);
    const sure = strings.percent(Math.exp(first?.logprob ?? NaN));
    say(`${text.says(sure)} · ${desk.mode === 'recorded' ? text.recorded : computedOn(desk)}`);
    ready();
  };

  const run = async (): Promise<void> => {
    if (state === 'running') {
      desk.cancel();
      return;
    }
    if (state === 'done') {
      undoing = true;
      await desk.undo(shownId).finally(() => (undoing = false));
      await ask();
      say(text.undone);
      return;
    }
    state = 'running';
    ours = true;
    button.textContent = text.stop;
    fresh.textContent = demo.target;
    try {
      const report = await desk.edit(DEMO);
      const [outcome] = report.outcomes;
      show(Math.exp(outcome?.after.continuationLogprob ?? NaN));
      await desk.keep();
      shownId = report.id;
      state = 'done';
      button.textContent = text.again;
      more.hidden = false;
      const done = desk.mode === 'recorded' ? text.doneRecorded : text.done;
      say(done(strings.seconds(report.ms), adapter()));
    } catch (error) {
      const { code, message } = asFailure(error);
      show(0);
      fresh.textContent = '';
      if (desk.mode !== 'lost') ready();
      say(code === 'stopped' ? strings.status.stopped : message);
    } finally {
      ours = false;
    }
  };
  button.addEventListener('click', () => void run());

  desk.on('progress', ({ done, total }) => {
    bar.value = done / total;
    say(done < total ? text.loading(strings.megabytes(done), strings.megabytes(total)) : text.preparing);
  });
  desk.on('mode', (mode) => {
    if (mode === 'loading') {
      button.disabled = true;
      bar.hidden = false;
      say(text.preparing);
    } else if (mode === 'lost') {
      state = 'waiting';
      button.disabled = true;
      say(strings.status.lostTitle);
    } else {
      about.textContent = mode === 'recorded' ? text.aboutRecorded : text.about;
      say(text.asking);
      void ask().then(
        () => desk.prepare(),
        (error: unknown) => say(asFailure(error).message),
      );
    }
  });
  desk.on('event', (event) => {
    if (!ours) return;
    const line = lineOf(event);
    if (line !== undefined) say(line);
    if (event.kind === 'step') show(event.row.probability);
  });

  return h(
    'section',
    { class: 'hero', id: 'top', 'aria-labelledby': 'hero-heading' },
    h('h1', { id: 'hero-heading' }, text.heading),
    h('p', { class: 'sentence' }, before, h('mark', {}, demo.subject), `${after} `, slot),
    status,
    bar,
    h('div', { class: 'actions' }, button, more),
    about,
  );
}

function computedOn({ opened }: Desk): string {
  if (!opened) return '';
  const { description, kind } = opened.adapter;
  return kind === 'software' ? text.readySoftware(description) : text.ready(description);
}

/** What is being done, for people who wait. */
export function lineOf(event: EditEvent): string | undefined {
  if (event.kind === 'contexts') return text.warming(event.done, event.total);
  if (event.kind === 'phase') return text.phases[event.phase];
  if (event.kind === 'step')
    return `${text.phases.value}: ${strings.watch.step} ${event.step + 1}, ${strings.watch.probability} ${strings.percent(event.row.probability)}`;
  return undefined;
}
