/** The report as one HTML file that needs nothing else: style, figures and tables are in it. */
import { entropyByUpdate, lossCurves, styles } from './edit-figures.ts';
import { findings } from './findings.ts';
import { sweep, traceAverage, traceFact } from './layer-figures.ts';
import { escape, keepTogether } from './numbers.ts';
import { complete, loadRenderer, standalone, withOwnIds } from './render.ts';
import {
  downstream,
  forgetting,
  languageByEdit,
  metricsByEdit,
  totalByEdit,
  updateByEdit,
} from './sequence-figures.ts';
import type { Figure, Study } from './study.ts';
import { STYLE, TIP } from './style.ts';
import { methodsTable, sequencesTable, worstSequenceTable, worstSingleTable } from './tables.ts';

/** Files of a report by name, text each. */
export type ReportFiles = ReadonlyMap<string, string>;

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
    figures: [updateByEdit, totalByEdit, languageByEdit, metricsByEdit, forgetting, downstream],
  },
  { heading: 'Single edits', tables: [methodsTable], figures: [entropyByUpdate, styles, lossCurves] },
  { heading: 'Where to edit', tables: [], figures: [traceAverage, traceFact, sweep] },
  { heading: 'The worst edits', tables: [worstSingleTable, worstSequenceTable], figures: [] },
];

/** `report.html`, and `NAME.svg` and `NAME.vl.json` of each figure. */
export async function makeReport(study: Study): Promise<ReportFiles> {
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
async function figureHtml(
  { name, title, caption, draw }: Figure,
  files: Map<string, string>,
): Promise<string> {
  const words = `<h3>${escape(title)}</h3><p>${keepTogether(escape(caption))}</p>`;
  if (!draw) return `<div class="undrawn" id="${name}">${words}</div>`;
  const render = await loadRenderer();
  const wide = complete(draw('wide'), 'wide');
  const svg = await render(wide);
  files.set(`${name}.svg`, standalone(svg));
  files.set(`${name}.vl.json`, `${JSON.stringify(wide, null, 1)}\n`);
  const narrow = await render(complete(draw('narrow'), 'narrow'));
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
