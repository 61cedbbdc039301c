/** The demo edit as it was computed once: what a visitor without WebGPU sees. `record.ts` writes it. */
import type { EditEvent, EditReport, Matrix, Opened, ReplayEvent, Turn } from './engine/protocol.ts';

export interface Recorded {
  readonly opened: Opened;
  readonly events: readonly EditEvent[];
  readonly report: EditReport;
  readonly trace: Matrix;
  readonly turns: readonly Turn[];
  readonly replay: readonly ReplayEvent[];
}

/** Numbers are kept as base64 of their bytes: as exact as they were, and a third of the size. */
function revive(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('f32' in value)) return value;
  const text = atob(String(value.f32));
  return new Float32Array(Uint8Array.from(text, (char) => char.charCodeAt(0)).buffer);
}

export async function fetchRecorded(): Promise<Recorded> {
  const response = await fetch('./recorded.json');
  return JSON.parse(await response.text(), revive) as Recorded;
}
