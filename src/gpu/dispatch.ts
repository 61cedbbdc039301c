/** One dispatch: its grid, and what it hands to a kernel, held against the shader's own text. */
import { ShapeError } from '../errors.ts';
import type { Kernel } from './kernel.ts';

export interface Grid {
  /** Invocations wanted; divided by the workgroup size. */
  readonly threads?: Extent;
  /** Workgroups; a number is folded like that of threads. */
  readonly groups?: Extent;
  readonly overrides?: Readonly<Record<string, number>> | undefined;
  /** Useful work, for `--trace` and benches. */
  readonly cost?: { readonly flops?: number; readonly bytes?: number; readonly shape?: string } | undefined;
}

/** Along x, y, z; a number: along x, and where that does not reach, folded: i = y · groups.x + x. */
type Extent = number | readonly [number, number?, number?];

/** Of one dimension. */
const MAX_GROUPS = 65_535;

/** Workgroups along x, y, z. @throws ShapeError for more than a device takes */
export function groupsOf(kernel: Kernel, grid: Grid): [number, number, number] {
  const extent = grid.groups ?? grid.threads ?? 1;
  const size = grid.groups === undefined ? kernel.workgroup : ([1, 1, 1] as const);
  let groups: [number, number, number];
  if (typeof extent === 'number') {
    const n = Math.ceil(extent / size[0]);
    const x = Math.min(n, MAX_GROUPS);
    groups = [x, x === 0 ? 0 : Math.ceil(n / x), 1];
  } else {
    const [x, y = 1, z = 1] = extent;
    groups = [Math.ceil(x / size[0]), Math.ceil(y / size[1]), Math.ceil(z / size[2])];
  }
  if (Math.max(...groups) > MAX_GROUPS)
    throw new ShapeError(
      `${kernel.name}: ${groups.join(' x ')} workgroups; one dimension takes at most ${MAX_GROUPS}.`,
    );
  return groups;
}

/** Holds bindings and params against the shader's own text. @throws ShapeError naming every difference */
export function checkNames(
  kernel: Kernel,
  bind: Readonly<Record<string, unknown>>,
  params: Readonly<Record<string, number>>,
): void {
  const { bindings, params: fields } = kernel.reflection;
  const wanted = bindings.filter((b) => b.kind !== 'uniform').map((b) => b.name);
  const given = Object.keys(bind);
  const wrong = [
    ...wanted.filter((b) => !bind[b]).map((b) => `binding "${b}" is missing`),
    ...given.filter((b) => !wanted.includes(b)).map((b) => `there is no binding "${b}"`),
    ...fields
      .filter((f) => !Number.isFinite(params[f.name]))
      .map((f) => `Params.${f.name} is ${params[f.name]}`),
    ...Object.keys(params)
      .filter((p) => !fields.some((f) => f.name === p))
      .map((p) => `Params has no "${p}"`),
  ];
  if (wrong.length > 0) throw new ShapeError(`shaders/${kernel.name}.wgsl: ${wrong.join('; ')}.`);
}
