/** The bundled model, loaded once a process, and the golden files. */
import { fileURLToPath } from 'node:url';
import { Model } from '../src/models/model.ts';
import { openCheckpoint } from '../src/io/checkpoint.ts';
import { openSafetensors } from '../src/io/file.ts';
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
