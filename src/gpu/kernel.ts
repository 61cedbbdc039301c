/**
 * The shader is the contract: a `.wgsl` file is read once and its bindings, `Params` fields, overrides and
 * workgroup size are reflected with a few regular expressions (`test/census.test.ts` lints what they expect).
 * Nothing is declared twice, and a wrong name fails before the GPU is touched.
 */
import { GpuError, ShapeError } from '../errors.ts';

export interface Binding {
  readonly name: string;
  readonly index: number;
  readonly kind: 'uniform' | 'read' | 'read_write' | 'texture';
  /** As written: `array<f32>`, `texture_storage_2d_array<rgba32uint, read>`. */
  readonly type: string;
}

export interface Field {
  readonly name: string;
  readonly type: 'u32' | 'i32' | 'f32';
}

/** What a `.wgsl` file says of itself. */
export interface Reflection {
  readonly bindings: readonly Binding[];
  readonly params: readonly Field[];
  readonly overrides: ReadonlyMap<string, number>;
  /** Invocations along x, y, z: literals or names of overrides. */
  readonly workgroup: readonly [string, string, string];
  /** Device features that the file enables: `shader-f16`, `subgroups`. */
  readonly features: readonly string[];
}

const FEATURE: Readonly<Record<string, string>> = { f16: 'shader-f16', subgroups: 'subgroups' };

/** Reads a shader's interface from its text. Throws ShapeError, naming the file, where the text leaves the dialect. */
export function reflect(name: string, text: string): Reflection {
  const code = text.replace(/\/\/[^\n]*/g, '');
  const bindings: Binding[] = [];
  for (const m of code.matchAll(
    /@group\(0\)\s*@binding\((\d+)\)\s*var\s*(?:<([^>]*)>)?\s*(\w+)\s*:\s*([^;]+);/g,
  )) {
    const space = (m[2] ?? '').replace(/\s/g, '');
    const kind = {
      uniform: 'uniform',
      'storage,read': 'read',
      'storage,read_write': 'read_write',
      '': 'texture',
    }[space];
    if (!kind)
      throw new ShapeError(
        `shaders/${name}.wgsl: binding "${m[3]}" is var<${space}>; write var<storage, read> or var<storage, read_write>.`,
      );
    bindings.push({
      name: m[3] ?? '',
      index: Number(m[1]),
      kind: kind as Binding['kind'],
      type: (m[4] ?? '').trim(),
    });
  }
  const body = /struct\s+Params\s*\{([^}]*)\}/.exec(code)?.[1] ?? '';
  const params = [...body.matchAll(/(\w+)\s*:\s*(\w+)/g)].map((m) => {
    if (m[2] !== 'u32' && m[2] !== 'i32' && m[2] !== 'f32') {
      throw new ShapeError(
        `shaders/${name}.wgsl: Params.${m[1]} is ${m[2]}; Params holds u32, i32 and f32 only.`,
      );
    }
    return { name: m[1] ?? '', type: m[2] } as Field;
  });
  const overrides = new Map<string, number>();
  for (const m of code.matchAll(/override\s+(\w+)\s*(?::\s*\w+)?\s*=\s*([\d.]+)[uif]?\s*;/g))
    overrides.set(m[1] ?? '', Number(m[2]));
  const entry = /@compute\s*@workgroup_size\(\s*([^)]*)\)\s*fn\s+main\b/.exec(code);
  if (!entry) throw new ShapeError(`shaders/${name}.wgsl: no "@compute @workgroup_size(…) fn main" found.`);
  const [x = '1', y = '1', z = '1'] = (entry[1] ?? '')
    .split(',')
    .map((part) => part.trim().replace(/u$/, ''));
  const features = [...code.matchAll(/^\s*enable\s+(\w+)/gm)].map((m) => FEATURE[m[1] ?? ''] ?? `${m[1]}`);
  return { bindings, params, overrides, workgroup: [x, y, z], features };
}

/** `texture_2d<f32>`, `texture_2d<u32>`, or `texture_storage_2d_array<FORMAT, read|write>` and the like. */
function textureLayout(type: string): Pick<GPUBindGroupLayoutEntry, 'texture' | 'storageTexture'> {
  const viewDimension = type.includes('_2d_array') ? '2d-array' : '2d';
  const storage = /^texture_storage_\w+<\s*(\w+)\s*,\s*(read|write)\s*>/.exec(type);
  const sampleType = type.includes('<u32>') ? 'uint' : 'unfilterable-float';
  if (!storage) return { texture: { sampleType, viewDimension } };
  const format = storage[1] as GPUTextureFormat;
  return {
    storageTexture: { access: storage[2] === 'read' ? 'read-only' : 'write-only', format, viewDimension },
  };
}

/** A compiled pipeline with the reflected interface of its file. */
export interface Kernel {
  readonly name: string;
  readonly reflection: Reflection;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly workgroup: readonly [number, number, number];
  /** Bytes of the uniform block: 4 a field, rounded up to 16; 0 without Params. */
  readonly paramBytes: number;
}

/** Compiles a shader. Errors arrive later, through `check`, with `shaders/x.wgsl:line:column`. */
export function compile(
  device: GPUDevice,
  name: string,
  text: string,
  given: Readonly<Record<string, number>>,
  check: (pending: Promise<GpuError | undefined>) => void,
): Kernel {
  const reflection = reflect(name, text);
  for (const feature of reflection.features) {
    if (!device.features.has(feature))
      throw new GpuError(
        `shaders/${name}.wgsl needs "${feature}", which this adapter lacks. Choose another rung.`,
        'gpu',
      );
  }
  for (const key of Object.keys(given)) {
    if (!reflection.overrides.has(key))
      throw new ShapeError(
        `shaders/${name}.wgsl has no override "${key}"; it has ${[...reflection.overrides.keys()].join(', ') || 'none'}.`,
      );
  }
  const size = (part: string): number => given[part] ?? reflection.overrides.get(part) ?? Number(part);
  const [x, y, z] = reflection.workgroup;

  device.pushErrorScope('validation');
  const module = device.createShaderModule({ label: name, code: text });
  const layout = device.createBindGroupLayout({
    label: name,
    entries: reflection.bindings.map((b): GPUBindGroupLayoutEntry => {
      const entry = { binding: b.index, visibility: 4 /* GPUShaderStage.COMPUTE */ };
      if (b.kind === 'texture') return { ...entry, ...textureLayout(b.type) };
      // Params lie at another place of the ring in every dispatch; all else of a bind group may serve again.
      if (b.kind === 'uniform') return { ...entry, buffer: { type: 'uniform', hasDynamicOffset: true } };
      return { ...entry, buffer: { type: b.kind === 'read' ? 'read-only-storage' : 'storage' } };
    }),
  });
  const pipeline = device.createComputePipeline({
    label: name,
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: 'main', constants: { ...given } },
  });
  const failure = device.popErrorScope();
  check(
    failure.then(async (error) => {
      if (!error) return undefined;
      const info = await module.getCompilationInfo();
      const lines = info.messages.map(
        (m) => `shaders/${name}.wgsl:${m.lineNum}:${m.linePos} ${m.type}: ${m.message}`,
      );
      return new GpuError(
        lines.length > 0 ? lines.join('\n') : `shaders/${name}.wgsl: ${error.message}`,
        'gpu',
      );
    }),
  );
  return {
    name,
    reflection,
    pipeline,
    layout,
    workgroup: [size(x), size(y), size(z)],
    paramBytes: Math.ceil((reflection.params.length * 4) / 16) * 16,
  };
}
