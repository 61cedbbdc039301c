/** The report as one HTML file that needs nothing else: style, figures and tables are in it. */
import { printableJson } from '../../printable.ts';
import * as edits from './edit-figures.ts';
import * as layers from './layer-figures.ts';
import * as lines from './line-figures.ts';
import type { Figure, Study } from './study.ts';
import { methodsTable, sequelTable, sequencesTable, worstSequenceTable, worstSingleTable } from './tables.ts';
import { FONT, PALETTE, SHAPES, WIDTH, complete, darkRules, standalone, svgOf, withOwnIds } from './theme.ts';
import { escape, findings, keepTogether } from './wording.ts';

interface Section {
  readonly heading: string;
  readonly tables: readonly ((study: Study) => string)[];
  readonly figures: readonly ((study: Study) => Figure | undefined)[];
}

/** In the order in which a report tells them. */
const SECTIONS: readonly Section[] = [
  {
    heading: 'One edit after another',
    tables: [sequencesTable],
    figures: [
      ...[edits.updateByEdit, edits.totalByEdit],
      ...[lines.languageByEdit, lines.metricsByEdit, lines.forgetting],
      edits.downstream,
    ],
  },
  {
    heading: 'Many facts',
    tables: [sequelTable],
    figures: [lines.factsMetrics, lines.factsCost, lines.factsAnchored],
  },
  {
    heading: 'Single edits',
    tables: [methodsTable],
    figures: [edits.entropyByUpdate, edits.styles, edits.lossCurves],
  },
  { heading: 'Where to edit', tables: [], figures: [layers.traceAverage, layers.traceFact, layers.sweep] },
  { heading: 'The worst edits', tables: [worstSingleTable, worstSequenceTable], figures: [] },
];

/** `report.html`, and `NAME.svg` and `NAME.vl.json` of each figure. */
export async function makeReport(study: Study): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const sections: string[] = [];
  for (const { heading, tables, figures } of SECTIONS) {
    const parts = tables.map((table) => table(study));
    for (const figure of figures.flatMap((make) => make(study) ?? []))
      parts.push(await figureHtml(figure, files));
    const body = parts.filter((part) => part !== '').join('\n');
    if (body !== '') sections.push(`<section>\n<h2>${heading}</h2>\n${body}\n</section>`);
  }
  files.set('report.html', page(study, sections.join('\n')));
  return files;
}

/** The figure at both sizes, whose files join `files`; without a drawing, the reason for it. */
async function figureHtml({ name, title, caption, draw }: Figure, files: Map<string, string>) {
  const words = `<h3>${escape(title)}</h3><p>${keepTogether(escape(caption))}</p>`;
  if (!draw) return `<div class="undrawn" id="${name}">${words}</div>`;
  const wide = complete(draw('wide'), 'wide');
  const svg = await svgOf(wide);
  files.set(`${name}.svg`, standalone(svg));
  files.set(`${name}.vl.json`, `${printableJson(wide, 1)}\n`);
  const narrow = await svgOf(complete(draw('narrow'), 'narrow'));
  return [
    `<figure id="${name}">`,
    `<figcaption>${words}</figcaption>`,
    `<div class="wide">${withOwnIds(svg, name)}</div>`,
    `<div class="narrow">${withOwnIds(narrow, `${name}-narrow`)}</div>`,
    `<p class="files"><a href="${name}.svg">${name}.svg</a> · <a href="${name}.vl.json">${name}.vl.json</a></p>`,
    '</figure>',
  ].join('\n');
}

function page(study: Study, sections: string): string {
  const { title, about, command } = study;
  const sentences = findings(study).map((sentence) => `<li>${keepTogether(sentence)}</li>`);
  const facts = about.map(([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="palimpsest">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escape(title)}</h1>
<ul class="findings">
${sentences.join('\n')}
</ul>
<dl>
${facts.join('\n')}
</dl>
${sections}
<footer>Made by <code>${escape(command)}</code>. Beside this file lie all figures as SVG and as vega-lite specifications with their data.</footer>
</main>
<div id="tip" role="status" hidden></div>
<script>${TIP}</script>
</body>
</html>
`;
}

const colours = (which: 0 | 1): string =>
  Object.entries(PALETTE)
    .map(([name, pair]) => `--${name}:${pair[which]};`)
    .join('');

/** Below this the narrow drawings are shown. */
const BREAK = WIDTH.wide + 48;

/** One column of text, figures as wide as it, everything again for the dark. */
const STYLE = `
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
${Object.keys(SHAPES)
  .map((name) => `.method.${name}{color:var(--${name})}`)
  .join('')}
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
table{font-size:12px}
th,td{padding:7px 2px}
small{font-size:10px;white-space:normal}
.blocks{font-size:14px}
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
const TIP = `
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
