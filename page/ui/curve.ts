/** A line of points that arrive one by one. */
import { h, svg } from './dom.ts';

export interface CurveOptions {
  readonly title: string;
  /** Of x: first and last. */
  readonly domain: readonly [number, number];
  /** Of y; absent: grows with the points. */
  readonly range?: readonly [number, number];
  readonly log?: boolean;
  readonly format: (y: number) => string;
  readonly xLabel: string;
  readonly className?: string;
  /** Behind both ends of x. */
  readonly unit?: string;
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [420, 190, 8, 12, 26, 26] as const;

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Emphasised, with its value beside it. */
  readonly mark?: boolean;
  /** Of the other series, in the colour of what was there. */
  readonly other?: boolean;
  /** Beside its line, not part of it. */
  readonly loose?: boolean;
}

export class Curve {
  readonly element: HTMLElement;
  readonly #options: CurveOptions;
  readonly #svg: SVGSVGElement;
  readonly #caption: HTMLElement;
  #points: Point[] = [];

  constructor(options: CurveOptions) {
    this.#options = options;
    this.#svg = svg('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: 'img',
      class: `curve ${options.className ?? ''}`,
    });
    this.#caption = h('figcaption', {}, options.title);
    this.element = h('figure', { class: 'chart' }, this.#caption, this.#svg);
    this.#draw();
  }

  set(points: readonly Point[]): void {
    this.#points = [...points];
    this.#draw();
  }

  add(point: Point): void {
    this.#points.push(point);
    this.#draw();
  }

  #draw(): void {
    const { domain, range, log, format, title, xLabel, unit = '' } = this.#options;
    const points = this.#points.filter(({ y }) => Number.isFinite(y) && (!log || y > 0));
    const ys = points.map(({ y }) => y);
    const scaleOf = (y: number): number => (log ? Math.log10(y) : y);
    const [low, high] = range ?? [log ? Math.min(...ys, 1) : 0, Math.max(...ys, log ? 10 : 0.001)];
    const [bottom, top] = [scaleOf(low), scaleOf(high)];
    const px = (x: number): number =>
      LEFT + ((x - domain[0]) / (domain[1] - domain[0] || 1)) * (WIDTH - LEFT - RIGHT);
    const py = (y: number): number =>
      HEIGHT - BOTTOM - ((scaleOf(y) - bottom) / (top - bottom || 1)) * (HEIGHT - TOP - BOTTOM);
    const lineOf = (other: boolean): Point[] =>
      points.filter((point) => !point.loose && (point.other ?? false) === other);
    const line = lineOf(false);
    const last = points.findLast(({ other }) => !other);
    const marks = points.filter((point) => point.mark ?? (point === last && !point.other));
    const [first] = line;
    this.#svg.setAttribute(
      'aria-label',
      last ? `${title}: ${first ? format(first.y) : ''} … ${format(last.y)}` : title,
    );
    this.#svg.replaceChildren(
      svg('line', { class: 'axis', x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      svg('text', { class: 'tick', x: LEFT, y: HEIGHT - 6 }, `${xLabel} ${domain[0]}${unit}`.trim()),
      svg('text', { class: 'tick end', x: WIDTH - RIGHT, y: HEIGHT - 6 }, `${domain[1]}${unit}`),
      ...[false, true].map((other) =>
        svg('polyline', {
          class: other ? 'line other' : 'line',
          points: lineOf(other)
            .map(({ x, y }) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`)
            .join(' '),
        }),
      ),
      ...points.map((point) =>
        svg('circle', {
          class: point.other ? 'dot other' : 'dot',
          cx: px(point.x).toFixed(1),
          cy: py(point.y).toFixed(1),
          r: point.mark || point === last ? 5 : 3,
        }),
      ),
      ...marks.map(({ x, y, other }) => {
        const right = x > (domain[0] + domain[1]) / 2;
        // The other series is told below its point, where there is room.
        const above = py(y) > TOP - 8 && !(other && py(y) + 22 < HEIGHT - BOTTOM);
        return svg(
          'text',
          {
            class: `mark ${right ? 'end' : ''} ${other ? 'other' : ''}`,
            x: px(x) + (right ? -9 : 9),
            y: py(y) + (above ? -8 : 19),
          },
          format(y),
        );
      }),
    );
  }
}
