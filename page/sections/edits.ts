/** The edits in the model: undone one by one, kept as files, taken from files. */
import { asFailure } from '../desk.ts';
import type { Desk } from '../desk.ts';
import type { Applied } from '../engine/protocol.ts';
import { METHOD_TABLE } from '../../src/edit/method.ts';
import { printable } from '../../src/printable.ts';
import { strings } from '../strings.ts';
import { fill, h, unique } from '../ui/dom.ts';

const text = strings.change;
/** Characters of an edit that are shown. */
const MOST = 300;

export function editList(desk: Desk): HTMLElement {
  const list = h('ol', { class: 'edits' });
  const status = h('p', { class: 'status', role: 'status' });
  const id = unique('file');
  const input = h('input', { type: 'file', id, class: 'file', accept: '.safetensors' });
  const take = async (file: File): Promise<void> => {
    try {
      const applied = await desk.drop(file, file.name);
      status.textContent = text.applied(told(applied));
    } catch (error) {
      status.textContent = asFailure(error).message || strings.status.needsGpu;
    }
  };
  input.addEventListener('change', () => {
    for (const file of input.files ?? []) void take(file);
    input.value = '';
  });
  const zone = h(
    'div',
    {
      class: 'drop',
      ondragover: (event) => {
        event.preventDefault();
        zone.classList.add('over');
      },
      ondragleave: () => zone.classList.remove('over'),
      ondrop: (event) => {
        event.preventDefault();
        zone.classList.remove('over');
        for (const file of event.dataTransfer?.files ?? []) void take(file);
      },
    },
    h('span', {}, text.drop),
    ' ',
    h('label', { for: id, class: 'button' }, text.choose),
    input,
    h('p', { class: 'note' }, text.fileHint),
  );

  const show = (applied: readonly Applied[]): void => {
    fill(
      list,
      applied.length === 0 && h('li', { class: 'empty' }, text.noEdits),
      applied.map((edit) =>
        h(
          'li',
          {},
          h('span', { class: 'told' }, told(edit)),
          h('span', { class: 'kind' }, `${METHOD_TABLE[edit.method].title} · ${edit.id.slice(0, 8)}`),
          h(
            'button',
            {
              type: 'button',
              'aria-label': text.undoOf(told(edit)),
              onclick: () =>
                void desk
                  .undo(edit.id)
                  .catch((error: unknown) => (status.textContent = asFailure(error).message)),
            },
            text.undo,
          ),
          edit.file.length > 0 &&
            h(
              'button',
              { type: 'button', 'aria-label': text.downloadOf(told(edit)), onclick: () => download(edit) },
              text.download,
            ),
        ),
      ),
    );
  };
  show([]);
  desk.on('applied', show);
  return h('div', { class: 'piece' }, h('h3', {}, text.kept), list, zone, status);
}

function told({ prompt, subject, target }: Applied): string {
  const sentence = prompt.replace('{}', () => subject);
  return printable(text.edited(sentence, target), MOST);
}

function download({ file, subject }: Applied): void {
  const url = URL.createObjectURL(new Blob([file], { type: 'application/octet-stream' }));
  const name =
    subject
      .toLowerCase()
      .replace(/[^\p{L}\p{N}]+/gu, '-')
      .replace(/^-|-$/g, '') || 'edit';
  h('a', { href: url, download: `${name}.edit.safetensors` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
