/** Rings around edits that were not judged ok. */
import { light } from '../palette.ts';

/** A layer with the rings, or none: a layer without a mark has no axis to be drawn on. */
export function rings<X, Y>(values: readonly { readonly verdict: string | undefined }[], x: X, y: Y) {
  const marked = values.filter(({ verdict }) => verdict !== 'ok');
  if (marked.length === 0) return [];
  const mark = { type: 'point', filled: false, shape: 'circle', strokeWidth: 1.6, size: 190 } as const;
  return [{ data: { values: marked }, mark: { ...mark, stroke: light('alarm') }, encoding: { x, y } }];
}
