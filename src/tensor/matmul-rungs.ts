/** The ladder of matrix products. What was measured stands in each shader's header; `palimpsest bench matmul` repeats it. */
import type { AdapterSummary } from '../gpu/adapter-info.ts';
import { type Rung, isSoftware } from '../gpu/rung.ts';
import { type Dtype, halfCode, isHalf } from './tensor.ts';

/** c [M, N] = a [M, K] · b */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** b is stored [N, K]. */
  readonly transposeB: boolean;
  readonly dtype: Dtype;
  /** Elements from a row of a to the next, and the first element of a. */
  readonly aStride: number;
  readonly aFirst: number;
  /** b can be read from strips, see strips.ts. */
  readonly strips: boolean;
  /** b is a weight: its strips are there, and of one kind. */
  readonly lasting?: boolean | undefined;
  /** The GELU of the product is wanted, if the rung can do that. */
  readonly gelu?: boolean | undefined;
}

export interface MatmulRung extends Rung<Product> {
  /** Rows and columns of c that one workgroup makes; absent: one thread an element. */
  readonly tile?: readonly [rows: number, columns: number];
  /** Where b is read from: its strips, a buffer of quads (bound as b and b2), or a buffer of words. */
  readonly reads: 'strips' | 'quads' | 'words';
  /** It can end with a GELU of the product. */
  readonly gelu?: true;
}

/** A binding of quads must hold one. */
const fourOfA = (p: Product): boolean => p.m * p.aStride >= 4;

const inStrips = (p: Product): boolean => p.strips && fourOfA(p);

const inQuads = (p: Product): boolean => fourOfA(p) && (p.transposeB ? p.k : p.n) % 4 === 0;

/** What was computed before does not show: where strips come to be, a buffer gave the same bits. */
const settled = (p: Product): boolean => p.lasting === true || inQuads(p);

const aRow = (p: Product, adapter: AdapterSummary): boolean =>
  p.m === 1 && inStrips(p) && (isSoftware(adapter, 4) || isSoftware(adapter, 8));

const tiles = (rows: number, columns: number): Pick<MatmulRung, 'tile' | 'grid'> => ({
  tile: [rows, columns],
  grid: ({ m, n }) => ({ groups: [Math.ceil(m / rows), Math.ceil(n / columns)] }),
});

const TRANSPOSED = (p: Product): number => (p.transposeB ? 1 : 0);

/** Rows of a are not made of whole, aligned quads. */
const ODD = (p: Product): number => (p.k % 4 !== 0 || p.aStride % 4 !== 0 || p.aFirst % 4 !== 0 ? 1 : 0);

/** Nor are rows of b. */
const ODD_EITHER = (p: Product): number => ((p.transposeB ? p.k : p.n) % 4 !== 0 ? 1 : ODD(p));

/** Both operands hold a vec4. */
const vec4s = (p: Product): boolean => fourOfA(p) && p.n * p.k >= (isHalf(p.dtype) ? 8 : 4);

const GELU = (p: Product): number => (p.gelu ? 1 : 0);

const HALF = (p: Product): number => halfCode(p.dtype);

const BLOCKS = (p: Product): number => (p.k > 1024 ? 1 : 0);

/** Tiles of `rows` rows and `texels` texels a lane, for subgroups of 8: one shader. */
const strips = (rows: number, texels: number): MatmulRung => ({
  name: `software/matmul_strips_${rows}x${32 * texels}`,
  kernel: 'software/matmul_strips',
  reads: 'strips',
  gelu: true,
  ...tiles(rows, 32 * texels),
  fits: (p, adapter) => isSoftware(adapter, 8) && inStrips(p),
  suits: settled,
  overrides: (p) => ({
    ...{ ROWS: rows, TEXELS: texels },
    ...{ TRANSPOSED: TRANSPOSED(p), ODD: ODD(p), GELU: GELU(p), HALF: HALF(p) },
    BLOCKS: BLOCKS(p),
  }),
});

/** All at GPT-2's widths, against the rung that would be taken otherwise. */
export const MATMUL: readonly MatmulRung[] = [
  // One row in strips: nothing is computed for rows that are not there.
  {
    kernel: 'software/matmul_row',
    reads: 'strips',
    ...tiles(1, 32),
    gelu: true,
    fits: (p, adapter) => aRow(p, adapter) && !p.transposeB,
    suits: ({ lasting = false }) => lasting,
    overrides: (p, { subgroupSize }) => ({ ODD: ODD(p), GELU: GELU(p), HALF: HALF(p), WG: subgroupSize }),
  },
  // One row, b transposed: lanes along k read whole rows of a strip, 1.4 times as fast.
  {
    kernel: 'software/matmul_row_transposed',
    reads: 'strips',
    ...tiles(1, 32),
    fits: (p, adapter) => aRow(p, adapter) && p.transposeB,
    suits: ({ lasting = false }) => lasting,
    overrides: (p, { subgroupSize }) => ({ ODD: ODD(p), HALF: HALF(p), WG: subgroupSize }),
  },
  // The 22 rows of an edit's unembedding in one tile, 15 to 20 % faster.
  { ...strips(24, 2), suits: (p) => settled(p) && p.m > 16 && p.m <= 24 },
  // 1.3 times as fast where 16 rows would be half empty.
  { ...strips(8, 4), suits: (p) => settled(p) && p.m <= 8 },
  // b in strips of a texture: 1.5 times as fast as from a buffer.
  strips(16, 3),
  // The same for subgroups of 4: 9 % faster than from a buffer.
  {
    kernel: 'software/matmul_strips_16x64',
    reads: 'strips',
    ...tiles(16, 64),
    fits: (p, adapter) => isSoftware(adapter, 4) && inStrips(p),
    suits: settled,
    overrides: (p) => ({ TRANSPOSED: TRANSPOSED(p), ODD: ODD(p), HALF: HALF(p) }),
  },
  // No workgroup memory: lanes hand the elements of a round.
  {
    kernel: 'software/matmul_buffer_16x128',
    reads: 'quads',
    ...tiles(16, 128),
    fits: (p, adapter) => isSoftware(adapter, 8) && inQuads(p),
    overrides: (p) => ({ TRANSPOSED: TRANSPOSED(p), ODD: ODD(p), HALF: HALF(p), BLOCKS: BLOCKS(p) }),
  },
  // The same for subgroups of 4, by swaps of lanes.
  {
    kernel: 'software/matmul_buffer_16x64',
    reads: 'quads',
    ...tiles(16, 64),
    fits: (p, adapter) => isSoftware(adapter, 4) && inQuads(p),
    overrides: (p) => ({ TRANSPOSED: TRANSPOSED(p), ODD: ODD(p), HALF: HALF(p) }),
  },
  // Few rows on a GPU: the threads of a group share out K, so that many loads of b are under way.
  {
    kernel: 'tensor/matmul_few_rows',
    reads: 'quads',
    tile: [8, 16],
    grid: ({ n }) => ({ groups: Math.ceil(n / 16) }),
    fits: (p) => p.m <= 8 && vec4s(p),
    suits: (_, { kind }) => kind === 'gpu',
    overrides: (p) => ({
      ...{ TRANSPOSED: TRANSPOSED(p), ODD: ODD_EITHER(p), HALF: HALF(p) },
      ROWS: p.m === 1 ? 1 : 8,
    }),
  },
  // 8 x 8 sums a thread, blocks in workgroup memory by turns: for GPUs, and for odd rows of b on software adapters.
  {
    kernel: 'tensor/matmul_registers',
    reads: 'quads',
    ...tiles(64, 64),
    fits: vec4s,
    suits: ({ m }, { kind }) => kind === 'gpu' || m > 8,
    overrides: (p) => ({ TRANSPOSED: TRANSPOSED(p), ODD: ODD_EITHER(p), HALF: HALF(p) }),
  },
  // The definition.
  {
    kernel: 'tensor/matmul_1',
    reads: 'words',
    grid: ({ m, n }) => ({ threads: m * n }),
    fits: () => true,
    overrides: (p) => ({ TRANSPOSED: TRANSPOSED(p), HALF: HALF(p) }),
  },
];
