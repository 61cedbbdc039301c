/** The bundled model, loaded once a process, and the golden files. */
import { fileURLToPath } from 'node:url';
import { packRows, uploadBatch } from '../src/models/batch.ts';
import { Model } from '../src/models/model.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { openSafetensors } from '../src/io/file.ts';
import { indices, read } from '../src/tensor/tensor.ts';
import { gpu } from './gpu.ts';

export const FACTS = fileURLToPath(new URL('../weights/facts', import.meta.url));

let facts: Promise<Model> | undefined;

/** The shared copy: a test that edits its weights restores them. */
export function openFacts(): Promise<Model> {
  facts ??= openCheckpoint(FACTS).then((checkpoint) => Model.load(gpu, checkpoint));
  return facts;
}

export function golden(name: string): string {
  return fileURLToPath(new URL(`golden/${name}`, import.meta.url));
}

/** All tensors of a golden safetensors file, as float32. */
export async function goldenTensors(name: string): Promise<Map<string, Float32Array>> {
  const file = await openSafetensors(golden(name));
  const tensors = new Map<string, Float32Array>();
  for (const tensor of file.names()) tensors.set(tensor, await file.readFloats(tensor));
  return tensors;
}

/** Logits [V] of the token after each text, by one plain forward pass. */
export async function nextLogits(model: Model, rows: readonly number[][]): Promise<Float32Array[]> {
  return gpu.scope(async (s) => {
    const batch = packRows(rows);
    const lasts = [...batch.rowStarts.subarray(1)].map((end) => end - 1);
    const x = model.forward(s, uploadBatch(s, batch));
    const all = await read(gpu, model.logits(s, x, indices(s, lasts, 'last_tokens')));
    const { V } = model.dims;
    return rows.map((_, b) => all.subarray(b * V, (b + 1) * V));
  });
}
