/** The residual stream as a grid: tokens across, layers up, the edit's site marked. */
import type { Matrix } from '../engine/protocol.ts';
import { strings } from '../strings.ts';
import { h, shown, svg } from './dom.ts';

const [CELL, ROW, LABEL, FOOT] = [52, 24, 30, 64] as const;

export interface GridOptions {
  readonly tokens: readonly string[];
  /** [tokens, layers] */
  readonly values: Matrix;
  readonly site: { readonly token: number; readonly layer: number };
  readonly label: string;
  readonly kind: 'flow' | 'trace';
}

export function grid({ tokens, values, site, label, kind }: GridOptions): HTMLElement {
  const { rows, cols, values: v } = values;
  const most = v.reduce((a, b) => Math.max(a, b), 1e-9);
  const [width, height] = [LABEL + rows * CELL, cols * ROW + FOOT];
  const cells: SVGElement[] = [];
  for (let t = 0; t < rows; t += 1) {
    for (let layer = 0; layer < cols; layer += 1) {
      const value = v[t * cols + layer] ?? 0;
      const [x, y] = [LABEL + t * CELL, (cols - 1 - layer) * ROW];
      cells.push(
        svg(
          'rect',
          {
            class: `cell ${kind}`,
            ...{ x: x + 1, y: y + 1, width: CELL - 2, height: ROW - 2, rx: 3 },
            vars: { v: Math.max(0, Math.min(1, value / most)).toFixed(4) },
          },
          svg(
            'title',
            {},
            `${shown(tokens[t] ?? '')} · ${strings.watch.layer} ${layer}: ${value.toPrecision(3)}`,
          ),
        ),
      );
    }
  }
  const [sx, sy] = [LABEL + site.token * CELL, (cols - 1 - site.layer) * ROW];
  const region = h(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
    svg(
      'svg',
      { class: 'grid', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label },
      cells,
      Array.from({ length: cols }, (_, layer) =>
        svg('text', { class: 'tick end', x: LABEL - 8, y: (cols - 1 - layer) * ROW + 17 }, String(layer)),
      ),
      tokens.map((token, t) =>
        svg(
          'text',
          {
            class: `token ${t === site.token ? 'site' : ''}`,
            transform: `translate(${LABEL + t * CELL + CELL / 2 - 4} ${cols * ROW + 14}) rotate(32)`,
          },
          shown(token),
        ),
      ),
      svg('rect', { class: 'ring', x: sx, y: sy, width: CELL, height: ROW, rx: 4 }),
    ),
  );
  // On a phone the site is what is in sight.
  requestAnimationFrame(() => (region.scrollLeft = sx - (region.clientWidth - CELL) / 2));
  return region;
}
