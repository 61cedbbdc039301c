import { printableLines } from './printable.ts';

/**
 * Errors people can act on: one class per reaction, each with the exit code of the command line.
 * A message reads *Where: what was expected, what came. What to do.* What came may be of any length and hold anything:
 * messages are cut, and controls are written out.
 */
export class PalimpsestError extends Error {
  /** A short machine-readable word, e.g. `no_adapter`; it appears as `error.code` under `--json`. */
  readonly code: string;
  readonly exitCode: number;

  constructor(message: string, code: string, exitCode: number, options?: ErrorOptions) {
    super(printableLines(message), options);
    this.name = new.target.name;
    this.code = code;
    this.exitCode = exitCode;
  }
}

/** Shapes, dtypes or names inside the engine do not fit together: a bug of the caller (exit 1). */
export class ShapeError extends PalimpsestError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, 'shape', 1, options);
  }
}

/** What the user typed, or a file they named, cannot be used (exit 2). */
export class UsageError extends PalimpsestError {
  constructor(message: string, code = 'usage', options?: ErrorOptions) {
    super(message, code, 2, options);
  }
}

/** The edit was computed but must not be kept, or cannot be computed soundly (exit 3). */
export class EditRefused extends PalimpsestError {
  constructor(message: string, code = 'edit_refused', options?: ErrorOptions) {
    super(message, code, 3, options);
  }
}

/** No adapter, device lost, out of memory, or a shader the adapter rejects (exit 4). */
export class GpuError extends PalimpsestError {
  constructor(
    message: string,
    code: 'no_adapter' | 'no_webgpu' | 'limits' | 'device_lost' | 'out_of_memory' | 'gpu',
    options?: ErrorOptions,
  ) {
    super(message, code, 4, options);
  }
}

/** A model, network or cache problem (exit 5). */
export class ModelError extends PalimpsestError {
  constructor(message: string, code = 'model', options?: ErrorOptions) {
    super(message, code, 5, options);
  }
}

/** Ctrl-C or SIGTERM: what was computed is kept (exit 130). */
export class Interrupted extends PalimpsestError {
  constructor(message = 'interrupted: what was written before is kept.', options?: ErrorOptions) {
    super(message, 'interrupted', 130, options);
  }
}
