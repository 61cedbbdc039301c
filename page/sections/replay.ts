/** The paper's sequence: sixteen edits go well, the seventeenth destroys the model, and r-ROME's does not. */
import type { Desk } from '../desk.ts';
import type { ReplayEvent, ReplayStep, Written } from '../engine/protocol.ts';
import { REPLAY_PROMPT } from '../plan.ts';
import { strings } from '../strings.ts';
import { Curve } from '../ui/curve.ts';
import { digits, fill, h, unique } from '../ui/dom.ts';
import { onSubmit, piece, stoppable } from './section.ts';

const text = strings.break;
const EDITS = 17;
const STATES: readonly Written['state'][] = ['before', 'sixteen', 'rome', 'r-rome'];

export function replayPiece(desk: Desk): HTMLElement {
  const prompt = h('input', { type: 'text', id: unique('replay'), value: REPLAY_PROMPT });
  const run = h('button', { type: 'submit', class: 'primary', disabled: true }, text.run);
  const status = h('p', { class: 'status', role: 'status' });
  const perplexity = new Curve({
    title: text.perplexity,
    domain: [0, EDITS],
    format: digits,
    xLabel: text.edits,
  });
  const sizes = new Curve({
    title: text.sizes,
    domain: [0, EDITS],
    log: true,
    format: digits,
    xLabel: text.edits,
  });
  const texts = h('div', { class: 'texts' });
  const shown = h(
    'div',
    { hidden: true },
    h('div', { class: 'pair' }, perplexity.element, sizes.element),
    texts,
  );

  const reset = (): void => {
    shown.hidden = false;
    perplexity.set([]);
    sizes.set([]);
    fill(
      texts,
      STATES.map((state) => writtenBlock(state)),
    );
  };
  const line = ({ edits, subject, target, verdict }: ReplayStep): string =>
    `${edits} / ${EDITS}  ${subject} → ${target}: ${strings.watch.words[verdict]}`;

  const on = (event: ReplayEvent): void => {
    if (event.kind === 'text') {
      const { written } = event;
      const place = texts.children[STATES.indexOf(written.state)];
      place?.replaceWith(writtenBlock(written.state, { ...written, prompt: promptOf(desk, prompt.value) }));
      return;
    }
    const { at } = event;
    const other = event.kind === 'rescue';
    if (at.edits > 0) status.textContent = line(at);
    const mark = at.edits === 0 || at.edits >= EDITS - 1;
    if (at.perplexity !== undefined)
      perplexity.add({ x: at.edits, y: at.perplexity, mark: mark || other, other });
    if (at.edits > 0) sizes.add({ x: at.edits, y: at.relativeUpdate, mark: at.edits === EDITS, other });
  };

  const start = stoppable(desk, run, status, text, async () => {
    reset();
    await desk.replay(prompt.value, on);
    status.textContent = desk.mode === 'recorded' ? text.recorded : text.undone;
  });
  desk.on('mode', (mode) => {
    run.disabled = mode !== 'live' && mode !== 'recorded';
    prompt.disabled = mode === 'recorded';
  });
  return piece(
    text.replay,
    text.replayText,
    h(
      'form',
      { class: 'row', onsubmit: onSubmit(start) },
      h('label', { for: prompt.id }, text.replayPrompt),
      h('div', { class: 'joined' }, prompt, run),
    ),
    status,
    shown,
  );
}

/** The recorded run continues the prompt that it was recorded with. */
function promptOf(desk: Desk, typed: string): string {
  return desk.mode === 'recorded' ? REPLAY_PROMPT : typed;
}

function writtenBlock(state: Written['state'], written?: Written & { readonly prompt: string }): HTMLElement {
  return h(
    'figure',
    { class: `said ${state}` },
    h(
      'figcaption',
      {},
      text.states[state],
      written &&
        h('span', { class: 'kind' }, `${text.perplexity.split(' ')[0]} ${digits(written.perplexity)}`),
    ),
    written
      ? h('blockquote', {}, h('b', {}, written.prompt), written.text)
      : h('blockquote', { class: 'empty' }, '…'),
  );
}
