/** The worker that owns the device: the page asks, and never computes. */
import { expose } from 'comlink';
import { limitsOf } from '../../src/gpu/adapter-info.ts';
import { openGpu } from '../../src/gpu/browser.ts';
import type { Gpu } from '../../src/gpu/context.ts';
import { PalimpsestError } from '../../src/errors.ts';
import { Model } from '../../src/models/model.ts';
import manifest from '../../weights/manifest.json';
import { Engine } from './engine.ts';
import { loadFiles } from './files.ts';
import { changeable, measureLadder, tryShader } from './measure.ts';
import type {
  Applied,
  EditEvent,
  EditReport,
  Matrix,
  Measurement,
  Opened,
  Progress,
  ReplayEvent,
  ShaderResult,
  Turn,
  Wish,
} from './protocol.ts';
import type { Prediction } from '../../src/models/predict.ts';
import { readReplay, replay, turn, turns } from './breaking.ts';
import type { Replay } from './breaking.ts';
import { traceStates } from './pictures.ts';
import { SHADERS, shaderText } from './shaders.ts';
import { blobSource } from './sources.ts';

const MODEL = 'facts';

class Remote {
  #gpu: Gpu | undefined;
  #engine: Engine | undefined;
  #running: AbortController | undefined;
  #base = '';
  #cancelled = 0;
  /** One thing at a time: the weights are shared. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param base address of the page: models lie in `weights/` beside it */
  open(
    base: string,
    onProgress: (progress: Progress) => void,
    onLost: (message: string) => void,
  ): Promise<Opened> {
    return this.#queued(() => this.#open(base, onProgress, onLost));
  }

  async #open(
    base: string,
    onProgress: (progress: Progress) => void,
    onLost: (message: string) => void,
  ): Promise<Opened> {
    const start = performance.now();
    this.#base = base;
    const gpu = await openGpu(navigator.gpu, { shader: shaderText });
    // The page ends the worker when it is done with it, so every loss that arrives is one.
    void gpu.device.lost.then(({ message }) => onLost(message));
    this.#gpu = gpu;
    const known = manifest[MODEL];
    const weights = new URL('weights/', base).href;
    const { checkpoint, covariance, stored } = await loadFiles(MODEL, known, weights, onProgress);
    const layer = known.edit_layer;
    const model = await Model.load(gpu, checkpoint, { editable: [layer] });
    this.#engine = new Engine({
      model,
      covariance,
      layer,
      clamp: known.clamp,
      versions: { palimpsest: __VERSION__, browser: navigator.userAgent },
    });
    const { D, F, H, V, layers, context } = model.dims;
    return {
      adapter: gpu.adapter,
      limits: limitsOf(gpu.device),
      model: { id: model.id, sha256: model.sha256 },
      dims: { D, F, H, V, layers, context },
      layer,
      covarianceTokens: covariance.tokens,
      stored,
      ms: performance.now() - start,
    };
  }

  /** What every edit needs and no visitor waits for: contexts, the factor of C, compiled shaders. */
  prepare(on: (event: EditEvent) => void): Promise<void> {
    return this.#run((engine, signal) => engine.prepare(on, signal));
  }

  predict(text: string, count?: number): Promise<Prediction> {
    return this.#run((engine) => engine.predict(text, count));
  }

  edit(wish: Wish, on: (event: EditEvent) => void): Promise<EditReport & { file: Uint8Array<ArrayBuffer> }> {
    return this.#run((engine, signal) => engine.edit(wish, on, signal));
  }

  apply(file: File | Blob, name: string): Promise<Applied> {
    return this.#run((engine) =>
      engine.apply(blobSource(name, file), async () => new Uint8Array(await file.arrayBuffer())),
    );
  }

  takeOut(id: string): Promise<void> {
    return this.#run((engine) => engine.takeOut(id));
  }

  trace(
    request: { prompt: string; subject: string },
    on: (done: number, total: number) => void,
  ): Promise<Matrix> {
    return this.#run((engine, signal) => traceStates(engine.model, request, on, signal));
  }

  turns(angles: readonly number[]): Promise<Turn[]> {
    return this.#run((engine) => turns(engine, angles));
  }

  turn(angle: number, prompt: string, tokens: number): Promise<{ rome: string; rRome: string }> {
    return this.#run((engine, signal) => turn(engine, angle, prompt, tokens, signal));
  }

  replay(prompt: string, on: (event: ReplayEvent) => void): Promise<void> {
    return this.#run(async (engine, signal) =>
      replay(engine, await this.#recordedEdits(engine.layer), prompt, on, { signal }),
    );
  }

  /** All of them, and those that a visitor can change on this adapter. */
  shaders(): { readonly all: readonly string[]; readonly changeable: readonly string[] } {
    return { all: SHADERS, changeable: this.#gpu ? changeable(this.#gpu) : [] };
  }

  shader(name: string): string {
    return shaderText(name);
  }

  tryShader(kernel: string, text: string): Promise<ShaderResult> {
    return this.#queued((signal) =>
      tryShader((shader) => openGpu(navigator.gpu, { shader }), kernel, text, signal),
    );
  }

  measure(on: (found: Measurement, done: number, total: number) => void): Promise<void> {
    return this.#run((engine, signal) => measureLadder(engine.model.gpu, on, signal));
  }

  /** Ends what is running, and what waits for it. */
  cancel(): void {
    this.#cancelled += 1;
    this.#running?.abort(stopped());
  }

  /** For tests: what a crash of the driver looks like. */
  loseDevice(): void {
    this.#gpu?.device.destroy();
  }

  async #recordedEdits(layer: number): Promise<Replay> {
    const response = await fetch(new URL('sequence.safetensors', this.#base));
    return readReplay(blobSource('sequence.safetensors', await response.blob()), layer);
  }

  #run<T>(work: (engine: Engine, signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#queued((signal) => {
      if (!this.#engine) throw new PalimpsestError('the model is not loaded yet', 'not_ready', 0);
      return work(this.#engine, signal);
    });
  }

  #queued<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const before = this.#cancelled;
    const run = async (): Promise<T> => {
      if (this.#cancelled !== before) throw crossing(stopped());
      const controller = new AbortController();
      this.#running = controller;
      try {
        return await work(controller.signal);
      } catch (error) {
        throw crossing(error);
      } finally {
        this.#running = undefined;
      }
    };
    const result = this.#queue.then(run, run);
    this.#queue = result.catch(() => undefined);
    return result;
  }
}

function stopped(): PalimpsestError {
  return new PalimpsestError('stopped', 'stopped', 0);
}

/** comlink carries an error's name and message across; the name takes the code along. */
function crossing(error: unknown): Error {
  const crossed = new Error(error instanceof Error ? error.message : String(error));
  crossed.name = error instanceof PalimpsestError ? error.code : 'bug';
  return crossed;
}

export type RemoteEngine = Remote;

expose(new Remote());
