/**
 * What all parts of the page share: the engine in its worker, or the recorded run where there is none, the last edit, and
 * the edits that are kept.
 */
import { proxy, wrap } from 'comlink';
import type { Remote } from 'comlink';
import type { RemoteEngine } from './engine/worker.ts';
import type {
  Applied,
  EditEvent,
  EditReport,
  Failure,
  Matrix,
  Measurement,
  Opened,
  Progress,
  ReplayEvent,
  Wish,
} from './engine/protocol.ts';
import { fetchRecorded } from './recorded.ts';
import type { Recorded } from './recorded.ts';

export type Mode = 'loading' | 'live' | 'recorded' | 'lost';

interface Happenings {
  mode: Mode;
  progress: Progress;
  /** An edit begins. */
  begin: Wish;
  event: EditEvent;
  report: EditReport;
  /** The edits in the model changed. */
  applied: readonly Applied[];
  failure: Failure;
  /** Why there is only the recorded run. */
  why: Failure;
}

type Listener<T> = (value: T) => void;

/** An edit whose file is at hand. */
export type Finished = EditReport & { readonly file?: Uint8Array<ArrayBuffer> };

export class Desk {
  mode: Mode = 'loading';
  opened: Opened | undefined;
  recorded: Recorded | undefined;
  report: Finished | undefined;
  applied: readonly Applied[] = [];
  busy = false;
  #worker: Worker | undefined;
  #remote: Remote<RemoteEngine> | undefined;
  /** The last worker, which may have no device. */
  #texts!: Remote<RemoteEngine>;
  #playing: AbortController | undefined;
  readonly #listeners = new Map<keyof Happenings, Listener<never>[]>();

  on<K extends keyof Happenings>(kind: K, listener: Listener<Happenings[K]>): void {
    this.#listeners.set(kind, [...(this.#listeners.get(kind) ?? []), listener as Listener<never>]);
  }

  #tell<K extends keyof Happenings>(kind: K, value: Happenings[K]): void {
    for (const listener of this.#listeners.get(kind) ?? []) (listener as Listener<Happenings[K]>)(value);
  }

  /** The engine. @throws Failure where there is none */
  get engine(): Remote<RemoteEngine> {
    if (!this.#remote || this.mode !== 'live') throw failure('no_engine', '');
    return this.#remote;
  }

  /** Starts the worker; without WebGPU the recorded run takes its place. @returns why, where it is the recorded run */
  async connect(): Promise<Failure | undefined> {
    this.#worker?.terminate();
    this.#setMode('loading');
    const worker = new Worker(new URL('./engine/worker.ts', import.meta.url), { type: 'module' });
    const remote = wrap<RemoteEngine>(worker);
    this.#texts = remote;
    this.#worker = worker;
    const broken = new Promise<never>((_, reject) => {
      worker.addEventListener('error', (event) => reject(failure('worker', event.message)));
    });
    broken.catch(() => undefined);
    try {
      const base = new URL('.', location.href).href;
      this.opened = await Promise.race([
        remote.open(
          base,
          proxy((progress: Progress) => this.#tell('progress', progress)),
          proxy((message: string) => this.#lose(worker, message)),
        ),
        broken,
      ]);
      this.#remote = remote;
      this.#setMode('live');
      return undefined;
    } catch (error) {
      this.#remote = undefined;
      this.recorded ??= await fetchRecorded();
      this.opened = this.recorded.opened;
      this.#setMode('recorded');
      this.#tell('why', asFailure(error));
      return asFailure(error);
    }
  }

  /** Gets ready for the first edit while the visitor reads. */
  prepare(): void {
    if (this.mode !== 'live') return;
    const tell = (event: EditEvent): void => this.#tell('event', event);
    // What fails here fails again in the edit, and is told there.
    void this.engine.prepare(proxy(tell)).catch(() => undefined);
  }

  /** After a loss: a new worker, and the edits that were kept. */
  async restart(): Promise<void> {
    const kept = this.applied;
    const why = await this.connect();
    if (why) return;
    for (const { file, id } of kept)
      await this.engine.apply(new Blob([file]), `${id.slice(0, 8)}.safetensors`);
    this.#tell('applied', kept);
  }

  /** Computes an edit, or plays the recorded one. */
  async edit(wish: Wish): Promise<Finished> {
    return this.#work(async () => {
      this.#tell('begin', wish);
      const tell = (event: EditEvent): void => this.#tell('event', event);
      const report =
        this.mode === 'recorded' ? await this.#play(tell) : await this.engine.edit(wish, proxy(tell));
      this.report = report;
      this.#tell('report', report);
      return report;
    });
  }

  /** Puts the last edit into the model. */
  async keep(): Promise<void> {
    const { report } = this;
    if (!report) return;
    const { prompt, subject, target } = report.request;
    const { id, method, file } = report;
    if (!file) {
      // The recorded run: nothing is computed, the list shows what would be.
      this.#setApplied([{ id, prompt, subject, target, method, file: new Uint8Array() }]);
      return;
    }
    await this.drop(new Blob([file]), `${id.slice(0, 8)}.safetensors`);
  }

  /** Puts an edit file into the model. @throws Failure in the command line's words */
  async drop(file: Blob, name: string): Promise<Applied> {
    return this.#work(async () => {
      const applied = await this.engine.apply(file, name);
      this.#setApplied([...this.applied, applied]);
      return applied;
    });
  }

  async undo(id: string): Promise<void> {
    await this.#work(async () => {
      if (this.mode === 'live') await this.engine.takeOut(id);
      this.#setApplied(this.applied.filter((edit) => edit.id !== id));
    });
  }

  async replay(prompt: string, on: (event: ReplayEvent) => void): Promise<void> {
    await this.#work(async () => {
      if (this.mode === 'live') {
        await this.engine.replay(prompt, proxy(on));
        return;
      }
      const { signal } = (this.#playing = new AbortController());
      for (const event of this.recorded?.replay ?? []) {
        await pause(event.kind === 'text' ? 500 : 260, signal);
        on(event);
      }
    });
  }

  /** Causal tracing of a prompt: tokens by layers. */
  async trace(
    request: { readonly prompt: string; readonly subject: string },
    on: (done: number, total: number) => void,
  ): Promise<Matrix> {
    return this.#work(() => this.engine.trace(request, proxy(on)));
  }

  /** What else the engine can be asked. @throws Failure */
  ask<T>(question: (engine: Remote<RemoteEngine>) => Promise<T>): Promise<T> {
    return this.#work(() => question(this.engine));
  }

  /** Kernels that can be changed here. */
  changeable(): Promise<readonly string[]> {
    return this.#work(async () => (await this.#texts.shaders()).changeable);
  }

  measure(on: (found: Measurement, done: number, total: number) => void): Promise<void> {
    return this.#work(() => this.engine.measure(proxy(on)));
  }

  /** The text of a shader: the worker has it, with or without a device. */
  async shader(name: string): Promise<string> {
    return this.#texts.shader(name);
  }

  cancel(): void {
    this.#playing?.abort();
    if (this.mode === 'live') void this.engine.cancel();
  }

  async #work<T>(work: () => Promise<T>): Promise<T> {
    this.busy = true;
    try {
      return await work();
    } catch (error) {
      throw asFailure(error);
    } finally {
      this.busy = false;
    }
  }

  async #play(tell: (event: EditEvent) => void): Promise<Finished> {
    const { signal } = (this.#playing = new AbortController());
    const { events, report } = this.recorded as Recorded;
    for (const event of events) {
      await pause(event.kind === 'step' ? 180 : 350, signal);
      tell(event);
    }
    return report;
  }

  #setApplied(applied: readonly Applied[]): void {
    this.applied = applied;
    this.#tell('applied', applied);
  }

  #setMode(mode: Mode): void {
    this.mode = mode;
    this.#tell('mode', mode);
  }

  #lose(worker: Worker, message: string): void {
    if (worker !== this.#worker) return;
    this.#remote = undefined;
    this.#setMode('lost');
    this.#tell('failure', failure('device_lost', message));
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(failure('stopped', 'stopped'));
    });
  });
}

function failure(code: string, message: string): Failure {
  return { code, message };
}

/** comlink gives the code as the error's name. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Error) return failure(error.name, error.message);
  if (typeof error === 'object' && error !== null && 'code' in error && 'message' in error)
    return failure(String(error.code), String(error.message));
  return failure('bug', String(error));
}
