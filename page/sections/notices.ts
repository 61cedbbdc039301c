/** What the visitor must know of the engine: where it computes, that it is lost, that this is a recording. */
import { asFailure } from '../desk.ts';
import type { Desk } from '../desk.ts';
import { strings } from '../strings.ts';
import { fill, h } from '../ui/dom.ts';

const text = strings.status;
/** Tabs of this page tell each other that they are there. */
const CHANNEL = 'palimpsest-tabs';

export function notices(desk: Desk): { readonly banner: HTMLElement; readonly chip: HTMLElement } {
  const chip = h('span', { class: 'chip-status' }, text.loading);
  const banner = h('div', { class: 'banner', role: 'status' });
  /** What is told now, each under a name of its own. */
  const told = new Map<string, HTMLElement>();
  const tell = (name: string, title: string, lines: readonly string[], action?: HTMLElement): void => {
    told.set(
      name,
      h(
        'div',
        { class: 'notice' },
        title !== '' && h('h2', {}, title),
        lines.map((line) => h('p', {}, line)),
        action,
      ),
    );
    fill(banner, [...told.values()]);
  };
  const untell = (name: string): void => {
    told.delete(name);
    fill(banner, [...told.values()]);
  };

  desk.on('mode', (mode) => {
    chip.dataset['mode'] = mode;
    if (mode === 'loading') chip.textContent = text.loading;
    if (mode === 'recorded') chip.textContent = text.recorded;
    if (mode === 'lost') chip.textContent = text.lost;
    if (mode !== 'live') return;
    chip.textContent = text.live(desk.opened?.adapter.description ?? '');
    untell('engine');
    if (desk.opened?.stored === false) tell('store', '', [text.notStored]);
  });
  desk.on('why', ({ code, message }) => {
    const known = ['no_webgpu', 'no_adapter', 'limits'].includes(code);
    tell('engine', text.noGpuTitle, [message, known ? text.noGpu : text.bug]);
  });

  const restart = h('button', { type: 'button', class: 'primary' }, text.restart);
  restart.addEventListener('click', () => {
    restart.disabled = true;
    tell('engine', '', [text.restarting]);
    desk
      .restart()
      .then(
        () => {
          if (desk.mode === 'live') tell('engine', '', [text.restarted]);
        },
        (error: unknown) => tell('engine', '', [asFailure(error).message]),
      )
      .finally(() => (restart.disabled = false));
  });
  desk.on('failure', () => tell('engine', text.lostTitle, [text.lostText], restart));

  // Two tabs share one GPU: both work, and both are told why they are slow.
  const channel = new BroadcastChannel(CHANNEL);
  channel.addEventListener('message', ({ data }) => {
    if (data === 'here?') channel.postMessage('here');
    if (data === 'gone') untell('tabs');
    else tell('tabs', '', [text.slow]);
  });
  channel.postMessage('here?');
  addEventListener('pagehide', () => channel.postMessage('gone'));
  return { banner, chip };
}
