/** The report as one HTML file that needs nothing else: style, figures and tables are in it. */
import { sections } from './figures.ts';
import { findings } from './findings.ts';
import { complete, loadRenderer, standalone, withOwnIds } from './render.ts';
import type { Draw } from './render.ts';
import type { Figure, Study } from './study.ts';
import { STYLE } from './style.ts';
import { methodsTable, sequencesTable, worstSequenceTable, worstSingleTable } from './tables.ts';
import { TIP } from './tip.ts';
import { escape, keepTogether, prose } from './words.ts';

/** Files of a report by name, text each. */
export type ReportFiles = ReadonlyMap<string, string>;

/** `report.html`, and `NAME.svg` and `NAME.vl.json` of each figure. */
export async function makeReport(study: Study): Promise<ReportFiles> {
  const draw = await loadRenderer();
  const files = new Map<string, string>();
  const parts: string[] = [];
  for (const { heading, figures } of sections(study)) {
    const drawn: string[] = [];
    for (const figure of figures) drawn.push(await figureHtml(figure, draw, files));
    parts.push(
      `<section>\n<h2>${escape(heading)}</h2>\n${tableOf(heading, study)}${drawn.join('\n')}\n</section>`,
    );
  }
  files.set('report.html', page(study, parts.join('\n')));
  return files;
}

function tableOf(heading: string, study: Study): string {
  if (heading === 'One edit after another') return sequencesTable(study);
  return heading === 'Single edits' ? methodsTable(study) : '';
}

async function figureHtml(figure: Figure, draw: Draw, files: Map<string, string>): Promise<string> {
  const { name, title, caption } = figure;
  const wide = complete(figure.draw('wide'));
  const svg = await draw(wide);
  files.set(`${name}.svg`, standalone(svg));
  files.set(`${name}.vl.json`, `${JSON.stringify(wide, null, 1)}\n`);
  const narrow = await draw(complete(figure.draw('narrow')));
  return [
    `<figure id="${name}">`,
    `<figcaption><h3>${escape(title)}</h3><p>${prose(caption)}</p></figcaption>`,
    `<div class="wide">${withOwnIds(svg, name)}</div>`,
    `<div class="narrow">${withOwnIds(narrow, `${name}-narrow`)}</div>`,
    `<p class="files"><a href="${name}.svg">${name}.svg</a> · <a href="${name}.vl.json">${name}.vl.json</a></p>`,
    '</figure>',
  ].join('\n');
}

function page(study: Study, body: string): string {
  const { title, about, command } = study;
  const worst = [worstSingleTable(study), worstSequenceTable(study)].join('\n').trim();
  const facts = about.map(([name, value]) => `<dt>${escape(name)}</dt><dd>${escape(value)}</dd>`).join('\n');
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
${findings(study)
  .map((sentence) => `<li>${keepTogether(sentence)}</li>`)
  .join('\n')}
</ul>
<dl>
${facts}
</dl>
${body}
${worst === '' ? '' : `<section>\n<h2>The worst edits</h2>\n${worst}\n</section>`}
<footer>Made by <code>${escape(command)}</code>. Beside this file lie all figures as SVG and as vega-lite specifications with their data.</footer>
</main>
<div id="tip" role="status" hidden></div>
<script>${TIP}</script>
</body>
</html>
`;
}
