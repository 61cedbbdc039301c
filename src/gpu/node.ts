/**
 * Starts the engine under Node: finds an adapter (a system GPU, else the system's software adapter, else
 * SwiftShader), reads shaders from `shaders/`, and waits in a way that leaves the cores to a software adapter.
 */
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { create } from 'webgpu';
import { GpuError } from '../errors.ts';
import { type AdapterSummary, summariseAdapter } from './adapter-info.ts';
import { Gpu } from './context.ts';
import { withoutRemarks } from './stderr-trap.ts';

/** Without it Dawn rounds timestamps to 65,536 ns. */
const DAWN_FLAGS = ['disable-dawn-features=timestamp_quantization'];
/**
 * SwiftShader compiles each zero that workgroup memory begins with to an instruction of its own: 1.4 s for 16 KiB.
 * Our shaders write it before they read it.
 */
const SWIFTSHADER_FLAGS = [...DAWN_FLAGS, 'enable-dawn-features=disable_workgroup_init'];
/** What Dawn takes on this system. */
const BACKEND = { darwin: 'metal', win32: 'd3d12' }[process.platform as string] ?? 'vulkan';
const RTLD_NODELETE = 0x1000; // else Node unloads the loader again, since it registers no add-on

/** What `create` gave. One that is collected before the last of its devices crashes the process: they all stay. */
const INSTANCES: GPU[] = [];

interface Found {
  readonly adapter: GPUAdapter;
  readonly summary: AdapterSummary;
}

export interface OpenOptions {
  /** Where shaders come from; a benchmark puts variants in their place. Default `readShader`. */
  readonly shader?: (name: string) => string;
  /** Lets Dawn's harmless remarks through to stderr. Default false. */
  readonly verbose?: boolean;
}

/**
 * Opens the best adapter, or the one whose name contains `wanted` (`auto` or part of the name; the environment
 * variable PALIMPSEST_ADAPTER is the default).
 *
 * @throws GpuError `no_adapter`, saying what was tried and how to get one
 */
export async function openGpu(
  wanted: string = process.env['PALIMPSEST_ADAPTER'] ?? 'auto',
  { shader = readShader, verbose = false }: OpenOptions = {},
): Promise<Gpu> {
  const find = () => findAdapter(wanted);
  const found = await (verbose ? find() : withoutRemarks(find));
  return Gpu.create({
    adapter: found.adapter,
    summary: found.summary,
    shader,
    ...(found.summary.kind === 'software' ? { wait: waitAsleep } : {}),
  });
}

/** The text of `shaders/NAME.wgsl`, found beside `src/` or, in the published package, beside `dist/`. */
export function readShader(name: string): string {
  for (const up of ['../..', '../../..']) {
    const path = fileURLToPath(new URL(`${up}/shaders/${name}.wgsl`, import.meta.url));
    if (existsSync(path)) return readFileSync(path, 'utf8');
  }
  throw new GpuError(
    `gpu: there is no shader shaders/${name}.wgsl. The installation is incomplete: reinstall it.`,
    'gpu',
  );
}

async function findAdapter(wanted: string): Promise<Found> {
  const fits = (found: Found | undefined): found is Found =>
    found !== undefined &&
    (wanted === 'auto' || found.summary.description.toLowerCase().includes(wanted.toLowerCase()));
  const seen: string[] = [];
  const note = (found: Found | undefined): Found | undefined => {
    if (found && !seen.includes(found.summary.description)) seen.push(found.summary.description);
    return found;
  };

  // 1. What the system offers. Asking for less power may name a second adapter.
  for (const powerPreference of ['high-performance', 'low-power'] as const) {
    const found = note(await request(powerPreference));
    if (fits(found)) return found;
  }
  // 2. SwiftShader alone: offered together with a system driver, Dawn would always pick SwiftShader.
  const { unpackSwiftShader } = await import('./swiftshader.ts');
  const folder = await unpackSwiftShader();
  if (folder) {
    const before = process.env['VK_ICD_FILENAMES'];
    process.env['VK_ICD_FILENAMES'] = join(folder, 'vk_swiftshader_icd.json');
    let found = note(await request('high-performance', SWIFTSHADER_FLAGS));
    if (!found) {
      // 3. No Vulkan loader on this machine either: load the one that SwiftShader brings.
      loadLibrary(join(folder, 'libvulkan.so.1'));
      found = note(await request('high-performance', SWIFTSHADER_FLAGS));
    }
    // The driver is loaded; processes that we start shall find what the system has.
    if (before === undefined) delete process.env['VK_ICD_FILENAMES'];
    else process.env['VK_ICD_FILENAMES'] = before;
    if (fits(found)) return found;
  }
  throw new GpuError(
    seen.length > 0
      ? `gpu: no adapter's name contains "${wanted}"; found ${seen.map((name) => `"${name}"`).join(' and ')}. Use --adapter auto, or part of one of these names.`
      : 'gpu: WebGPU found no adapter on this machine. Install a GPU driver, or Mesa 24 or newer (mesa-vulkan-drivers; the one of Debian 12 is too old, its backports have a newer one), or the npm package @sparticuz/chromium (its SwiftShader needs no root).',
    'no_adapter',
  );
}

async function request(
  powerPreference: GPUPowerPreference,
  flags: string[] = DAWN_FLAGS,
): Promise<Found | undefined> {
  const instance = create(flags);
  INSTANCES.push(instance);
  const adapter = await instance.requestAdapter({ powerPreference });
  // Dawn's null backend has no description and computes nothing.
  if (!adapter || adapter.info.description === '') return undefined;
  return { adapter, summary: summariseAdapter(adapter, BACKEND) };
}

function loadLibrary(path: string): void {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
  } catch {
    // "Module did not self-register" is expected: it is a library, not an add-on, and it is loaded now.
  }
}

const SPINS = 8;
const NAP_MS = 0.5;

/**
 * Waits for the device without burning the cores that a software adapter computes on. Dawn polls in the event loop
 * as long as a promise is pending, at full speed; a nap between polls doubled the throughput of lavapipe. A few
 * turns without a nap come first, since tiny jobs end at once. Naps that grow with the time waited were no faster.
 */
async function waitAsleep<T>(promise: Promise<T>): Promise<T> {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let pending = true;
  const settled = promise.finally(() => {
    pending = false;
  });
  settled.catch(() => undefined); // rethrown by the return below
  for (let turn = 0; pending; turn += 1) {
    if (turn >= SPINS) Atomics.wait(cell, 0, 0, NAP_MS);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return settled;
}
