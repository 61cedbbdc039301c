/** Ability 3: read it. Every step with its equation, its shapes in this edit, and the shader that computed it. */
import type { Desk, Finished } from '../desk.ts';
import { strings } from '../strings.ts';
import { fill, h } from '../ui/dom.ts';
import { matrixHeat } from '../ui/heat.ts';
import { listing } from '../ui/wgsl.ts';
import { section } from './section.ts';
import { STAGES } from './stages.ts';
import type { Stage, Symbol_ } from './stages.ts';
import { VECTORS, vectorFigure } from './watch.ts';

const text = strings.read;

export function read(desk: Desk): HTMLElement {
  const figures = h('div', { class: 'vectors' });
  const picture = h(
    'aside',
    { class: 'picture', 'aria-label': text.picture },
    h('h3', {}, text.picture),
    h('p', { class: 'note' }, text.pictureHint),
    figures,
  );

  /** Lights up the vector of a symbol; of several places that show one, all. */
  const light = (name: string | undefined): void => {
    for (const element of document.querySelectorAll<HTMLElement>('[data-symbol]'))
      element.classList.toggle('lit', element.dataset['symbol'] === name);
    root.classList.toggle('pointing', name !== undefined);
  };
  const named = (event: Event): string | undefined =>
    (event.target as Element)
      .closest('.sym')
      ?.getAttribute('class')
      ?.match(/sym-(\w+)/)?.[1];

  const show = (report: Finished): void =>
    fill(
      figures,
      VECTORS.map((name) => vectorFigure(report, name)),
      h(
        'figure',
        { class: 'vector', 'data-symbol': 'W' },
        h('figcaption', {}, `${text.symbolSigns.W}: ${text.symbolNames.W}`),
        matrixHeat(report.weight, { label: text.symbolNames.W, old: true }),
      ),
    );
  desk.on('report', show);

  const stages = STAGES.map((stage) => stageElement(stage, desk, light));
  desk.on('mode', (mode) => {
    if (mode === 'recorded' && desk.recorded) show(desk.recorded.report);
    if (mode === 'live' || mode === 'recorded') for (const { shapes } of stages) shapes();
  });

  const root = section(
    'read',
    3,
    text.heading,
    text.lead,
    h(
      'div',
      { class: 'reading' },
      h(
        'div',
        { class: 'stages' },
        stages.map(({ element }) => element),
      ),
      picture,
    ),
  );
  root.addEventListener('pointerover', (event) => {
    const name = named(event);
    if (name !== undefined) light(name);
  });
  root.addEventListener('pointerout', (event) => {
    if (named(event) !== undefined) light(undefined);
  });
  return root;
}

function stageElement(
  stage: Stage,
  desk: Desk,
  light: (name: string | undefined) => void,
): { readonly element: HTMLElement; readonly shapes: () => void } {
  const { title, text: meaning } = text.stages[stage.name];
  const equations = h('div', { class: 'equations' });
  const shapeList = h('dl', { class: 'shapes' });
  const code = h('div', { class: 'code' });
  let opened = false;

  const symbols = h(
    'div',
    { class: 'symbols', role: 'group', 'aria-label': text.symbols },
    stage.symbols.map((name) => symbolButton(name, light)),
  );
  const shapes = (): void => {
    const { dims } = desk.opened ?? {};
    if (!dims) return;
    const contexts = desk.report?.contexts.length ?? 21;
    fill(
      shapeList,
      stage
        .shapes({ D: dims.D, F: dims.F, V: dims.V, contexts })
        .map(([symbol, shape]) => h('div', {}, h('dt', {}, symbol), h('dd', {}, shape))),
    );
  };
  const buttons = stage.shaders.map(({ name, mark }) => {
    const button = h('button', { type: 'button', class: 'chip', 'aria-expanded': 'false' }, `${name}.wgsl`);
    button.addEventListener('click', () => {
      const open = button.getAttribute('aria-expanded') === 'true';
      for (const other of buttons) other.setAttribute('aria-expanded', 'false');
      if (open) return fill(code);
      button.setAttribute('aria-expanded', 'true');
      void desk.shader(name).then((wgsl) => fill(code, listing(name, wgsl, mark === '' ? [] : [mark])));
    });
    return button;
  });

  const element = h(
    'details',
    { class: 'stage', name: 'stage' },
    h('summary', {}, title),
    h('p', {}, meaning),
    equations,
    symbols,
    h('h3', {}, text.shapes),
    shapeList,
    h('h3', {}, text.shaders),
    h('div', { class: 'chips' }, buttons),
    code,
  );
  element.addEventListener('toggle', () => {
    if (!element.open || opened) return;
    opened = true;
    shapes();
    void typeset(equations, stage.equations);
  });
  return { element, shapes };
}

function symbolButton(name: Symbol_, light: (name: string | undefined) => void): HTMLElement {
  return h(
    'button',
    {
      type: 'button',
      class: `symbol sym sym-${name}`,
      onfocus: () => light(name),
      onblur: () => light(undefined),
      onclick: () => light(name),
    },
    h('i', {}, text.symbolSigns[name]),
    ` ${text.symbolNames[name]}`,
  );
}

/** Equations as MathML; the library is loaded when the first step is opened. */
async function typeset(element: HTMLElement, equations: readonly string[]): Promise<void> {
  const { default: temml } = await import('temml');
  for (const equation of equations) {
    const place = h('div', { class: 'equation' });
    temml.render(equation, place, { displayMode: true, trust: true, throwOnError: true });
    element.append(place);
  }
}
