/** The page: six things to do with an edit, one under the other, around one engine. */
import { Desk } from './desk.ts';
import { breaking } from './sections/break.ts';
import { change } from './sections/change.ts';
import { hero } from './sections/hero.ts';
import { measure } from './sections/measure.ts';
import { notices } from './sections/notices.ts';
import { read } from './sections/read.ts';
import { shader } from './sections/shader.ts';
import { watch } from './sections/watch.ts';
import { strings } from './strings.ts';
import { h } from './ui/dom.ts';

const PARTS = ['change', 'watch', 'read', 'break', 'shader', 'measure'] as const;

const desk = new Desk();
const { banner, chip } = notices(desk);

document.documentElement.lang = strings.language;
document.querySelector('#page')?.replaceChildren(
  h('a', { class: 'skip', href: '#top' }, strings.skip),
  h(
    'header',
    { class: 'top' },
    h('a', { class: 'name', href: '#top' }, strings.title),
    h(
      'nav',
      { 'aria-label': strings.nav.label },
      PARTS.map((part) => h('a', { href: `#${part}` }, strings.nav[part])),
    ),
    chip,
  ),
  h(
    'main',
    {},
    banner,
    hero(desk),
    change(desk),
    watch(desk),
    read(desk),
    breaking(desk),
    shader(desk),
    measure(desk),
  ),
  h(
    'footer',
    {},
    h('p', {}, strings.status.footer),
    h('pre', { tabindex: '0' }, strings.status.footerCommand),
    h('p', { class: 'note' }, strings.status.paper),
  ),
);

// For the console, and for tests.
Object.assign(globalThis, { palimpsest: desk });

void desk.connect();
