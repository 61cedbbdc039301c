/** The report's style sheet and its only script: one column of text, figures as wide as it, everything again for the dark. */
import { FONT, PALETTE, WIDTH, darkRules } from './theme.ts';

const colours = (which: 0 | 1): string =>
  Object.entries(PALETTE)
    .map(([name, pair]) => `--${name}:${pair[which]};`)
    .join('');

/** Below this the narrow drawings are shown. */
const BREAK = WIDTH.wide + 48;

export const STYLE = `
:root{color-scheme:light dark;${colours(0)}--page:#f7f6f2}
@media (prefers-color-scheme:dark){:root{${colours(1)}--page:#121418}
${darkRules('figure')}
}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 ${FONT};-webkit-text-size-adjust:100%}
main{max-width:${WIDTH.wide + 40}px;margin:0 auto;padding:44px 20px 72px}
h1{font-size:30px;line-height:1.2;margin:0 0 14px;letter-spacing:-.01em;text-wrap:balance}
h2{font-size:22px;line-height:1.25;margin:64px 0 0;padding-top:20px;border-top:1px solid var(--axis)}
h3{font-size:17px;line-height:1.3;margin:0 0 4px;text-wrap:balance}
.findings{padding:0;margin:0 0 28px;list-style:none}
.findings li{margin:0 0 8px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:14px;color:var(--soft)}
dd{margin:0;color:var(--ink);overflow-wrap:anywhere}
figure,.undrawn{margin:36px 0 0}
figcaption p,.undrawn p{margin:0 0 14px;color:var(--soft);font-size:14px;line-height:1.5}
figure svg{display:block;max-width:100%;height:auto;overflow:visible}
figure .narrow{display:none}
.files{font-size:12.5px;margin:8px 0 0;color:var(--soft)}
a{color:var(--r-rome)}
.caption{margin:24px 0 10px;color:var(--soft);font-size:14px;line-height:1.5}
.table{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:14px;line-height:1.4;font-variant-numeric:tabular-nums}
th,td{padding:8px 7px;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid);font-weight:400}
thead th{color:var(--soft);font-size:12.5px;white-space:nowrap;border-bottom-color:var(--axis)}
th:first-child{padding-left:0}
th.n:last-child,td.n:last-child{padding-right:0}
.n{text-align:right;white-space:nowrap}
small{display:block;color:var(--soft);font-size:11.5px;white-space:nowrap}
tbody th small{white-space:normal}
sup{line-height:0;font-size:.75em}
q{display:block;quotes:none;color:var(--soft);font-size:13px;margin-top:4px;overflow-wrap:anywhere}
u{text-decoration-color:var(--axis);text-underline-offset:3px}
.method{white-space:nowrap;font-weight:600}
.nw{white-space:nowrap}
${(['rome', 'p-rome', 'r-rome'] as const).map((name) => `.method.${name}{color:var(--${name})}`).join('')}
.verdict{font-weight:600}.verdict.ok{color:var(--soft);font-weight:400}.verdict.suspect{color:var(--p-rome)}.verdict.disabling{color:var(--alarm)}
code{font:13.5px/1.5 ui-monospace,"Cascadia Mono","SF Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
footer{margin-top:64px;padding-top:20px;border-top:1px solid var(--axis);color:var(--soft);font-size:14px}
#tip{position:fixed;z-index:1;max-width:300px;padding:6px 10px;border-radius:6px;background:var(--ink);color:var(--page);font-size:13px;line-height:1.4;pointer-events:none}
#tip[hidden]{display:none}
@media (max-width:${BREAK}px){
figure .wide{display:none}
figure .narrow{display:block}
figure .narrow svg{width:100%;max-width:520px}
}
@media (max-width:640px){
main{padding:28px 16px 56px}
h1{font-size:25px}
h2{margin-top:48px}
dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:8px}
table{font-size:13px}
th,td{padding:7px 4px}
small{font-size:10.5px}
.blocks,.blocks :is(tbody,tr,th){display:block}
.blocks thead,.blocks td:empty{display:none}
.blocks tr{padding:12px 0;border-bottom:1px solid var(--axis)}
.blocks :is(th,td){border:0;padding:2px 0;text-align:left}
.blocks td{display:flex;justify-content:space-between}
.blocks td::before{content:attr(data-name);color:var(--soft)}
}
@media print{body{background:none}figure,tr{break-inside:avoid}}
`;

/** A mark under the pointer says what it is, in the words that screen readers are given. */
export const TIP = `
(() => {
  const tip = document.getElementById('tip');
  const tell = (event) => {
    const mark = event.target instanceof Element && event.target.closest('svg [aria-label][aria-roledescription]');
    const text = mark && mark.tagName !== 'g' && mark.getAttribute('aria-label');
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8)) + 'px';
    tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + 'px';
  };
  addEventListener('pointermove', tell, { passive: true });
  addEventListener('pointerdown', tell, { passive: true });
})();
`;
