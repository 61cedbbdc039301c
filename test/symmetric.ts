/** Symmetric matrices in rows [F, F], to the GPU and back. */
import { packSymmetric, readPanels, unpackSymmetric, uploadPanels } from '../src/edit/panels.ts';
import type { Panels } from '../src/edit/panels.ts';
import type { Gpu } from '../src/gpu/context.ts';
import type { Scope } from '../src/gpu/scope.ts';

export function uploadSymmetric(s: Scope, rows: Float32Array, f: number): Panels {
  return uploadPanels(s, packSymmetric(rows, f), f);
}

export async function readSymmetric(gpu: Gpu, panels: Panels): Promise<Float32Array<ArrayBuffer>> {
  return unpackSymmetric(await readPanels(gpu, panels), panels.f);
}
