/** What all figures look like: sizes, letters, axes. One place, so that they belong together. */
import type { Config } from 'vega-lite';
import type { Method } from '../../edit/method.ts';
import { METHOD_MARKS, light } from './palette.ts';

/** A figure is drawn twice: for a desk and for a phone. Letters have the same size in both. */
export type Size = 'wide' | 'narrow';

/** CSS pixels, axes included. */
export const WIDTH: Readonly<Record<Size, number>> = { wide: 712, narrow: 328 };

/** Ticks of an axis of edits. */
export const EDIT_TICKS: Readonly<Record<Size, number>> = { wide: 10, narrow: 5 };

export const FONT = 'system-ui, -apple-system, "Segoe UI", "Open Sans", Helvetica, Arial, sans-serif';

export const THEME: Config = {
  background: 'transparent',
  font: FONT,
  padding: { left: 2, right: 6, top: 4, bottom: 2 },
  view: { stroke: null },
  axis: {
    domainColor: light('axis'),
    tickColor: light('axis'),
    gridColor: light('grid'),
    labelColor: light('soft'),
    titleColor: light('ink'),
    labelFontSize: 12,
    titleFontSize: 12.5,
    titleFontWeight: 500,
    labelPadding: 5,
    titlePadding: 9,
    tickSize: 4,
    labelLimit: 0,
  },
  axisX: { labelFlush: false, labelOverlap: true },
  title: { anchor: 'start', fontSize: 13, fontWeight: 600, color: light('ink'), offset: 8 },
  axisY: {
    titleAngle: 0,
    titleAlign: 'left',
    titleAnchor: 'end',
    titleY: -14,
    titleX: 0,
    titleBaseline: 'bottom',
    domain: false,
    ticks: false,
  },
  header: {
    labelColor: light('ink'),
    labelFontSize: 13,
    labelFontWeight: 600,
    labelAnchor: 'start',
    title: null,
    labelPadding: 22,
  },
  legend: {
    orient: 'top',
    direction: 'horizontal',
    title: null,
    labelColor: light('ink'),
    labelFontSize: 12.5,
    symbolSize: 90,
    symbolStrokeWidth: 2,
    offset: 34,
    titleLimit: 0,
    // Shorter than a panel of a heat map on a desk.
    gradientLength: 148,
    gradientThickness: 12,
    gradientStrokeColor: light('axis'),
    columnPadding: 18,
    titleColor: light('ink'),
    titleFontSize: 12.5,
    titleFontWeight: 500,
  },
  text: { color: light('ink'), fontSize: 12 },
};

/** The colour and shape scales of the methods that are shown. */
export function methodScales(methods: readonly Method[]): {
  color: { domain: string[]; range: string[] };
  shape: { domain: string[]; range: string[] };
} {
  const shown = (Object.keys(METHOD_MARKS) as Method[]).filter((method) => methods.includes(method));
  const domain = shown.map((method) => METHOD_MARKS[method].title);
  return {
    color: { domain, range: shown.map((method) => light(method)) },
    shape: { domain, range: shown.map((method) => METHOD_MARKS[method].shape) },
  };
}

export const title = (method: Method): string => METHOD_MARKS[method].title;
