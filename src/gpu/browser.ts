/** `palimpsest/browser`: starts the engine in a browser: its adapter, limits that are large enough, shaders that the page has loaded already. */
import { GpuError } from '../errors.ts';
import { summariseAdapter } from './adapter-info.ts';
import { Gpu } from './context.ts';

/** What every adapter of the WebGPU standard binds; the "compatibility" ones of old devices bind less. */
const BINDING_BYTES = 128 * 2 ** 20;

export interface BrowserOptions {
  /** The text of `shaders/NAME.wgsl`. */
  readonly shader: (name: string) => string;
}

/**
 * Opens the browser's best adapter.
 *
 * @param gpu `navigator.gpu`, of a page or a worker; undefined where the browser has no WebGPU
 * @throws GpuError `no_webgpu`, `no_adapter`, `limits`: what is missing, and where it is not
 */
export async function openGpu(gpu: GPU | undefined, { shader }: BrowserOptions): Promise<Gpu> {
  if (!gpu)
    throw new GpuError(
      'gpu: this browser has no WebGPU here. Use Chrome or Edge 113, Safari 26 or Firefox 141, or newer, and a page from https or from this machine.',
      'no_webgpu',
    );
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter)
    throw new GpuError(
      'gpu: this browser has WebGPU, but found no adapter for it. Turn on hardware acceleration in its settings, or update the graphics driver.',
      'no_adapter',
    );
  const { maxStorageBufferBindingSize: bytes } = adapter.limits;
  if (bytes < BINDING_BYTES)
    throw new GpuError(
      `gpu: expected an adapter that binds ${BINDING_BYTES} bytes at once, this one binds ${bytes}. Use another device or browser.`,
      'limits',
    );
  return Gpu.create({ adapter, summary: summariseAdapter(adapter, 'browser'), shader });
}
