/** Ability 5: change a shader. It is compiled, checked against float64, and timed beside the rung in use. */
import { asFailure } from '../desk.ts';
import type { Desk } from '../desk.ts';
import type { ShaderResult } from '../engine/protocol.ts';
import { strings } from '../strings.ts';
import { bar } from '../ui/bars.ts';
import type { Editor } from '../ui/editor.ts';
import { fill, h, unique } from '../ui/dom.ts';
import { section } from './section.ts';

const text = strings.shader;
/** Shown first where the adapter runs it: short, and on every adapter. */
const FIRST = 'tensor/gelu';

export function shader(desk: Desk): HTMLElement {
  const id = unique('kernel');
  const choice = h('select', { id, disabled: true });
  const open = h('button', { type: 'button', disabled: true }, text.open);
  const run = h('button', { type: 'button', class: 'primary', hidden: true }, text.run);
  const reset = h('button', { type: 'button', hidden: true }, text.reset);
  const place = h('div', { class: 'editor' });
  const result = h('div', { class: 'result', role: 'status' });
  let editor: Editor | undefined;

  const load = async (): Promise<void> => {
    const wgsl = await desk.shader(choice.value);
    if (!editor) {
      const { Editor } = await import('../ui/editor.ts');
      editor ??= new Editor(place, text.editor);
    }
    place.classList.add('open');
    editor.set(wgsl);
    fill(result, h('p', { class: 'note' }, text.tryThis));
    open.hidden = true;
    run.hidden = reset.hidden = false;
  };
  const attempt = async (): Promise<void> => {
    if (!editor) return;
    const source = editor.text;
    run.disabled = true;
    fill(result, h('p', { class: 'status' }, text.running));
    editor.mark([]);
    try {
      const found = await desk.ask(
        (engine) => engine.tryShader(choice.value, source) as Promise<ShaderResult>,
      );
      if (found.kind === 'faults') editor.mark(found.faults);
      fill(
        result,
        resultElement(found, (line) => editor?.goTo(line)),
      );
    } catch (error) {
      fill(result, h('p', { class: 'verdict disabling' }, asFailure(error).message));
    } finally {
      run.disabled = false;
    }
  };
  open.addEventListener('click', () => void load());
  reset.addEventListener('click', () => void load());
  choice.addEventListener('change', () => {
    if (editor) void load();
  });
  run.addEventListener('click', () => void attempt());

  desk.on('mode', (mode) => {
    choice.disabled = open.disabled = mode !== 'live';
    if (mode === 'recorded') fill(result, h('p', { class: 'note' }, strings.status.needsGpu));
    if (mode !== 'live') return;
    fill(result);
    void desk.changeable().then((names) => {
      const chosen = choice.value || (names.includes(FIRST) ? FIRST : (names[0] ?? ''));
      fill(
        choice,
        names.map((name) => h('option', { value: name, selected: name === chosen }, `${name}.wgsl`)),
      );
    });
  });

  return section(
    'shader',
    5,
    text.heading,
    text.lead,
    h('div', { class: 'toolbar' }, h('label', { for: id }, text.choose), choice, open, run, reset),
    place,
    result,
  );
}

function resultElement(found: ShaderResult, goTo: (line: number) => void): HTMLElement {
  if (found.kind === 'faults')
    return h(
      'div',
      {},
      h('h3', {}, text.faults(found.faults.length)),
      h(
        'ul',
        { class: 'faults' },
        found.faults.map(({ line, column, message }) =>
          h(
            'li',
            {},
            h('pre', {}, text.fault(line, column, message)),
            h('button', { type: 'button', onclick: () => goTo(line) }, text.goTo(line)),
          ),
        ),
      ),
    );
  if (found.kind === 'wrong') {
    const { shape, index, got, want, bound } = found;
    return h('p', { class: 'verdict disabling' }, text.wrong(shape, index, got, want, bound));
  }
  const most = Math.max(found.mine, found.its);
  const row = (label: string, ms: number, kind: string): HTMLElement =>
    bar(kind, ms / most, label, text.ms(ms));
  return h(
    'div',
    { class: 'bars' },
    h('p', { class: 'verdict ok' }, text.right(found.shape, found.deviation)),
    h('ol', {}, row(text.mine, found.mine, 'new'), row(text.its(found.rung), found.its, 'old')),
    h('p', {}, text.faster(found.ratio)),
  );
}
