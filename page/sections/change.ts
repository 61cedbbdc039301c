/** Ability 1: change a fact, and see what else changes. */
import { METHODS, METHOD_TABLE } from '../../src/edit/method.ts';
import type { Method } from '../../src/edit/method.ts';
import { EXAMPLES } from '../examples.ts';
import { asFailure } from '../desk.ts';
import type { Desk, Finished } from '../desk.ts';
import { strings } from '../strings.ts';
import { bars } from '../ui/bars.ts';
import { fill, h, shown, unique } from '../ui/dom.ts';
import { SubjectPicker } from '../ui/subject.ts';
import { editList } from './edits.ts';
import { lineOf } from './hero.ts';
import { onSubmit, section, stoppable } from './section.ts';

const text = strings.change;

export function change(desk: Desk): HTMLElement {
  const [first] = EXAMPLES;
  const picker = new SubjectPicker(first);
  const targetId = unique('target');
  const target = h('input', {
    type: 'text',
    id: targetId,
    value: first.target,
    autocomplete: 'off',
    spellcheck: 'false',
  });
  const methodName = unique('method');
  const method = h(
    'fieldset',
    { class: 'choices' },
    h('legend', {}, text.method),
    METHODS.map((name) =>
      h(
        'label',
        {},
        h('input', { type: 'radio', name: methodName, value: name, checked: name === 'r-rome' }),
        METHOD_TABLE[name].title,
      ),
    ),
  );
  const chosenMethod = (): Method =>
    (method.querySelector<HTMLInputElement>('input:checked')?.value ?? 'r-rome') as Method;
  const own: string[] = [];
  const run = h('button', { class: 'primary', type: 'submit', disabled: true }, text.run);
  const status = h('p', { class: 'status', role: 'status' });
  const results = h('div', { class: 'results' });
  const around = h('div', { class: 'around' });
  const say = (line: string): void => void (status.textContent = line);

  const examples = h(
    'div',
    { class: 'chips', role: 'group', 'aria-label': text.examples },
    EXAMPLES.map((one) =>
      h(
        'button',
        {
          type: 'button',
          class: 'chip',
          onclick: () => {
            picker.set(one);
            target.value = one.target;
          },
        },
        `${one.subject} → ${one.target}`,
      ),
    ),
  );
  const watched = (): string[] => {
    const example = EXAMPLES.find(({ prompt, subject }) => prompt.replace('{}', subject) === picker.sentence);
    return [...(example?.paraphrases ?? []), ...(example?.neighbours ?? []), ...own];
  };
  const kindOf = (prompt: string): string =>
    own.includes(prompt)
      ? text.own
      : EXAMPLES.some(({ paraphrases }) => paraphrases.includes(prompt))
        ? text.paraphrase
        : text.neighbour;

  const start = stoppable(desk, run, status, text, async () => {
    const { prompt, subject } = picker.request();
    await desk.edit({ prompt, subject, target: target.value, method: chosenMethod(), watched: watched() });
  });

  const added = h('input', { type: 'text', id: unique('add'), autocomplete: 'off', spellcheck: 'false' });
  const add = h(
    'form',
    {
      class: 'row',
      onsubmit: onSubmit(() => {
        const line = added.value.trim();
        if (line === '' || own.includes(line)) return;
        own.push(line);
        added.value = '';
        showOwn();
      }),
    },
    h('label', { for: added.id }, text.add),
    h('div', { class: 'joined' }, added, h('button', { type: 'submit' }, text.addButton)),
  );
  const ownList = h('ul', { class: 'own' });
  const showOwn = (): void =>
    fill(
      ownList,
      own.map((line, i) =>
        h(
          'li',
          {},
          h('span', {}, line),
          h(
            'button',
            {
              type: 'button',
              class: 'quiet',
              'aria-label': text.remove(line),
              onclick: () => {
                own.splice(i, 1);
                showOwn();
              },
            },
            '×',
          ),
        ),
      ),
    );

  const show = (report: Finished): void => {
    const [outcome] = report.outcomes;
    if (!outcome) return;
    const old = report.before.next[0]?.token;
    const fresh = report.strip.targetTokens[0];
    const title = METHOD_TABLE[report.method].title;
    const keep = h(
      'button',
      {
        type: 'button',
        onclick: () => void desk.keep().catch((error: unknown) => say(asFailure(error).message)),
      },
      text.keep,
    );
    const settle = (): void => {
      const there = desk.applied.some(({ id }) => id === report.id);
      keep.disabled = there;
      keep.textContent = there ? text.keptAlready : text.keep;
    };
    settle();
    keepButton = settle;
    fill(
      results,
      h(
        'div',
        { class: 'pair' },
        bars({ title: text.before, next: report.before.next, target: fresh, old }),
        bars({ title: text.by(title), next: outcome.after.next, target: fresh, old }),
      ),
      h('p', { class: `verdict ${outcome.success}` }, text.success[outcome.success]),
      h('p', { class: `verdict ${outcome.verdict}` }, text.verdict[outcome.verdict]),
      report.strip.warnings.map((warning) => h('p', { class: 'warning' }, warning)),
      keep,
    );
    fill(
      around,
      report.asked.length > 0 &&
        h(
          'table',
          {},
          h('caption', {}, text.aroundLead),
          h(
            'thead',
            {},
            h(
              'tr',
              {},
              ['', text.before, text.after].map((title_, i) =>
                h('th', { scope: 'col' }, i === 0 ? text.around : title_),
              ),
            ),
          ),
          h(
            'tbody',
            {},
            report.asked.map(({ prompt, before, after }) => {
              const [was, is] = [before[0], after[0]];
              const changed = was?.id !== is?.id;
              return h(
                'tr',
                { class: changed ? 'changed' : '' },
                h('th', { scope: 'row' }, h('span', { class: 'kind' }, kindOf(prompt)), prompt),
                [was, is].map((token) =>
                  h(
                    'td',
                    {},
                    h('span', { class: 'token' }, shown(token?.token ?? '')),
                    h('span', { class: 'value' }, strings.percent(Math.exp(token?.logprob ?? NaN))),
                  ),
                ),
              );
            }),
          ),
        ),
    );
  };
  let keepButton = (): void => undefined;
  desk.on('applied', () => keepButton());
  desk.on('report', (report) => {
    say('');
    show(report);
  });
  desk.on('event', (event) => {
    if (!desk.busy) return;
    const line = lineOf(event);
    if (line !== undefined) say(line);
  });
  desk.on('mode', (mode) => {
    run.disabled = mode !== 'live';
    if (mode === 'recorded') say(strings.status.needsGpu);
    else if (mode === 'live') say('');
  });
  fill(results, h('p', { class: 'empty' }, text.empty));

  return section(
    'change',
    1,
    text.heading,
    text.lead,
    h(
      'div',
      { class: 'columns' },
      h(
        'div',
        { class: 'composer' },
        examples,
        h(
          'form',
          { class: 'form', onsubmit: onSubmit(start) },
          picker.element,
          h('label', { for: targetId }, text.target),
          target,
          method,
          h('div', { class: 'actions' }, run, status),
        ),
        add,
        ownList,
      ),
      h('div', {}, h('h3', {}, text.next), results),
    ),
    around,
    editList(desk),
  );
}
