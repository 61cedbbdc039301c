/** What an adapter says of itself: what rungs are chosen by, and what people paste into an issue. */

export interface AdapterSummary {
  readonly description: string;
  readonly vendor: string;
  readonly architecture: string;
  readonly backend: string;
  /** `software`: the adapter computes on the CPU's own cores, so waiting must not burn them. */
  readonly kind: 'gpu' | 'software';
  /** The fixed subgroup size, or 0 where it varies or there are none. */
  readonly subgroupSize: number;
  /** The sizes between which subgroups vary; 0 where there are none. GPUs: 32, 64, or 8 to 32. */
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly features: readonly string[];
}

/** Names of adapters that compute on the CPU. */
const SOFTWARE = /llvmpipe|lavapipe|softpipe|swiftshader|basic render driver/i;

/** What an adapter says of itself. @param backend what lies below WebGPU, where the host knows it */
export function summariseAdapter(adapter: GPUAdapter, backend = 'unknown'): AdapterSummary {
  const { vendor, architecture, isFallbackAdapter } = adapter.info;
  // Browsers keep the description to themselves, and tell vendor and architecture.
  const description = adapter.info.description || `${vendor} ${architecture}`.trim() || 'unnamed';
  const subgroups = adapter.features.has('subgroups');
  const subgroupMinSize = subgroups ? (adapter.info.subgroupMinSize ?? 0) : 0;
  const subgroupMaxSize = subgroups ? (adapter.info.subgroupMaxSize ?? 0) : 0;
  return {
    description,
    vendor,
    architecture,
    backend,
    kind: SOFTWARE.test(description) || isFallbackAdapter ? 'software' : 'gpu',
    subgroupSize: subgroupMinSize === subgroupMaxSize ? subgroupMinSize : 0,
    subgroupMinSize,
    subgroupMaxSize,
    features: [...adapter.features].sort(),
  };
}

/** What decides whether a model fits, and what a shader may use. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
  'maxTextureArrayLayers',
  'minStorageBufferOffsetAlignment',
] as const;

export function limitsOf({ limits }: GPUDevice): Record<string, number> {
  return Object.fromEntries(LIMITS.map((name) => [name, limits[name]]));
}
