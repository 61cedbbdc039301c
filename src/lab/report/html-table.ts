/** Tables of the report. On a phone each row becomes a block, with the column's name before each value. */
import { escape, prose } from './words.ts';

export interface TableColumn {
  readonly title: string;
  /** Numbers are set to the right. */
  readonly number?: boolean;
  /** A column of prose, which may be as wide as is left. */
  readonly prose?: boolean;
}

/** @param rows cells of HTML: whoever makes them escapes what came from outside */
export function htmlTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  caption: string,
): string {
  const kind = ({ number, prose }: TableColumn): string =>
    number ? ' class="n"' : prose ? ' class="prose"' : '';
  const head = columns
    .map((column) => `<th scope="col"${kind(column)}>${escape(column.title)}</th>`)
    .join('');
  const body = rows.map((row) => {
    const cells = columns.map((column, c) =>
      c === 0
        ? `<th scope="row">${row[c] ?? ''}</th>`
        : `<td${kind(column)} data-name="${escape(column.title)}">${row[c] ? `<div>${row[c]}</div>` : ''}</td>`,
    );
    return `<tr>${cells.join('')}</tr>`;
  });
  return [
    `<p class="caption">${prose(caption)}</p>`,
    `<div class="table"><table><thead><tr>${head}</tr></thead><tbody>`,
    ...body,
    '</tbody></table></div>',
  ].join('\n');
}
