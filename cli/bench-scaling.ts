/** `palimpsest bench edit --scaling`: how the time of an edit grows with the model and with the contexts; with `--model-size`, that size alone. */
import { writeFile } from 'node:fs/promises';
import type { Gpu } from '../src/gpu/context.ts';
import type { ModelSize } from '../src/models/random-checkpoint.ts';
import { benchEdit } from '../src/lab/bench/edit.ts';
import { scalingFigure } from '../src/lab/bench/scaling-figure.ts';
import type { LengthPoint, SizePoint } from '../src/lab/bench/scaling-figure.ts';
import { contextsOfLength } from '../src/lab/bench/workload.ts';
import { loadRenderer } from '../src/lab/report/render.ts';
import { peakResident, residentLimit, withBenchModel } from './bench-model.ts';
import type { BenchModelArguments } from './bench-model.ts';
import type { Run } from './command.ts';
import { megabytes } from './text.ts';

export interface ScalingArguments extends BenchModelArguments {
  readonly steps?: number | undefined;
  readonly figure?: string | undefined;
}

const SIZES: readonly ModelSize[] = ['small', 'medium', 'large', 'xl'];
/** Tokens of a context, and the model that they are tried on. */
const LENGTHS = [4, 16, 64, 256] as const;
const LENGTH_SIZE: ModelSize = 'small';
const CONTEXTS = 21;

export async function benchScaling(gpu: Gpu, args: ScalingArguments, run: Run): Promise<object> {
  const { terminal, signal } = run;
  const [sizes, lengths]: [(SizePoint & { peak: number })[], LengthPoint[]] = [[], []];
  const options = { signal, ...(args.steps === undefined ? {} : { steps: args.steps }) };
  terminal.heading('an edit with 21 contexts, C = I, by model size (random weights)');
  for (const size of SIZES.filter((name) => name === (args.modelSize ?? name))) {
    const point = await withBenchModel(gpu, { ...args, modelSize: size }, run, async (found) => {
      // Beside minutes, what the first edit compiles does not count.
      const runs = size === 'small' || size === 'medium' ? 1 : 0;
      const { edit, steps } = await benchEdit(found.model, {
        ...options,
        runs,
        layer: found.layer,
        trace: false,
      });
      const [seconds, peak] = [edit.median / 1000, peakResident()];
      const { parameters, bytes } = found;
      const mark = peak <= residentLimit(bytes) ? '' : ' ABOVE 1.3 times and 1.5 GB';
      terminal.print(
        `${size.padEnd(7)} ${(parameters / 1e6).toFixed(0).padStart(5)} M   ${seconds.toFixed(2).padStart(7)} s   ${steps} steps   ` +
          `loaded in ${(found.loadMs / 1000).toFixed(1)} s   peak ${megabytes(peak)}${mark}`,
      );
      return { size, parameters, seconds, peak };
    });
    sizes.push(point);
  }
  if (args.modelSize === undefined) lengths.push(...(await byLength(gpu, args, options, run)));
  if (args.figure !== undefined) {
    const draw = await loadRenderer();
    const title = `r-ROME edit, ${CONTEXTS} contexts, ${gpu.adapter.description}`;
    await writeFile(args.figure, await draw(scalingFigure(title, sizes, lengths)));
    terminal.print('', `Wrote ${args.figure}`);
  }
  return { sizes, lengths };
}

/** Only what runs once grows with the contexts, but for the attention of each step. */
async function byLength(
  gpu: Gpu,
  args: ScalingArguments,
  options: { readonly steps?: number; readonly signal: AbortSignal },
  run: Run,
): Promise<LengthPoint[]> {
  const { terminal } = run;
  const lengths: LengthPoint[] = [];
  terminal.heading(`GPT-2 ${LENGTH_SIZE} by tokens of a context`);
  await withBenchModel(gpu, { ...args, modelSize: LENGTH_SIZE }, run, async ({ model, layer }) => {
    for (const tokens of LENGTHS) {
      const contexts = contextsOfLength(tokens, CONTEXTS);
      const runs = tokens === LENGTHS[0] ? 1 : 0; // the others find everything compiled
      const { edit, phases } = await benchEdit(model, { ...options, runs, layer, contexts, trace: false });
      const seconds = edit.median / 1000;
      lengths.push({ size: LENGTH_SIZE, tokens, seconds });
      terminal.print(
        `${String(tokens).padStart(4)} tokens   ${seconds.toFixed(2).padStart(7)} s   of these ${(phases.contexts / 1000).toFixed(2)} s for what is computed once`,
      );
    }
  });
  return lengths;
}
