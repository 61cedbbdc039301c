/**
 * What this machine has. `palimpsest doctor`: adapter, caches, versions, as text to paste into an issue; works without an
 * adapter. `palimpsest models list|fetch`: which checkpoints there are, and getting one before it is needed.
 */
import { readdir, stat } from 'node:fs/promises';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { GpuError } from '../src/errors.ts';
import { limitsOf } from '../src/gpu/adapter-info.ts';
import type { Gpu } from '../src/gpu/context.ts';
import { openGpu } from '../src/gpu/node.ts';
import { cacheFolder } from '../src/io/cache.ts';
import { ownPath, versions } from '../src/io/file.ts';
import { hubCacheFolder } from '../src/io/hub-cache.ts';
import { openCheckpoint } from '../src/io/model-folder.ts';
import { findModel, readManifest } from '../src/io/models.ts';
import { megabytes } from '../src/numerals.ts';
import { left, right } from '../src/table.ts';
import { add } from '../src/tensor/elementwise.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { command } from './commands.ts';
import { ADAPTER_FLAGS, MODEL_FLAGS } from './flags.ts';
import { aboutAdapter, adapterSection, openWatched } from './session.ts';
import type { Terminal } from './terminal.ts';

/** Variables that change what palimpsest does. Tokens are not among them. */
const VARIABLES = [
  'PALIMPSEST_ADAPTER',
  'PALIMPSEST_CACHE',
  'VK_ICD_FILENAMES',
  'VK_DRIVER_FILES',
  'XDG_CACHE_HOME',
  'HF_HOME',
  'HF_HUB_CACHE',
  'HF_ENDPOINT',
  'HF_HUB_OFFLINE',
  'TRANSFORMERS_OFFLINE',
  'NO_COLOR',
  'FORCE_COLOR',
];

/** How they describe themselves, and where one comes from that is not found. */
const SOFTWARE_ADAPTERS = {
  llvmpipe:
    'not found: install mesa-vulkan-drivers 24 or newer (the one of Debian 12 is too old, its backports have a newer one)',
  swiftshader: 'not found: install the npm package @sparticuz/chromium',
};

type Section = Record<string, string | number>;

export const doctor = command({
  flags: ADAPTER_FLAGS,
  examples: { '$0 doctor': 'the text to paste into an issue' },
  run: async (args, { terminal }) => {
    // Before the search for an adapter, which sets VK_ICD_FILENAMES itself.
    const environment = Object.fromEntries(
      VARIABLES.flatMap((name) =>
        process.env[name] === undefined ? [] : [[name, process.env[name] as string]],
      ),
    );
    const { about, error, ...sections } = await examine(args.adapter, terminal.verbose);
    const result = {
      versions: versions(),
      system: {
        platform: `${platform()} ${release()} ${arch()}`,
        cores: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
        memory: megabytes(totalmem()),
      },
      ...sections,
      software_adapters: await softwareAdapters(about?.description),
      shaders: await shaders(),
      models: await bundledModels(),
      caches: {
        palimpsest: await folderSize(cacheFolder()),
        hub: await folderSize(hubCacheFolder(process.env)),
      },
      environment,
    };
    for (const [title, section] of Object.entries(result)) show(terminal, title.replace('_', ' '), section);
    terminal.print();
    return { ...(about && { adapter: about }), result, error };
  },
});

/** The adapter, or why there is none. */
async function examine(wanted: string | undefined, verbose: boolean) {
  let gpu: Gpu | undefined;
  try {
    gpu = await openGpu(wanted, { verbose });
    return {
      about: aboutAdapter(gpu),
      adapter: adapterSection(gpu),
      limits: limitsOf(gpu.device),
      check: await compute(gpu),
    };
  } catch (error) {
    if (error instanceof GpuError) return { error, adapter: { found: 'none' }, limits: {}, check: {} };
    throw error;
  } finally {
    gpu?.destroy();
  }
}

/** Whether the adapter computes at all: 1 + 2 + ... is beyond doubt. */
async function compute(gpu: Gpu): Promise<Section> {
  const n = 1000;
  const start = performance.now();
  return gpu.scope(async (s) => {
    const numbers = Float32Array.from({ length: n }, (_, i) => i);
    const x = upload(s, numbers, [n], 'doctor');
    const sum = await read(gpu, add(s, x, x));
    const wrong = sum.findIndex((value, i) => value !== 2 * i);
    const right = `right, ${Math.round(performance.now() - start)} ms with its compilation`;
    return { 'first dispatch': wrong < 0 ? right : `WRONG at ${wrong}: ${sum[wrong]}` };
  });
}

async function softwareAdapters(used: string | undefined): Promise<Section> {
  const found: Section = {};
  for (const [name, missing] of Object.entries(SOFTWARE_ADAPTERS)) {
    if (used?.toLowerCase().includes(name)) {
      found[name] = `in use: ${used}`;
      continue;
    }
    try {
      const gpu = await openGpu(name);
      found[name] = gpu.adapter.description;
      gpu.destroy();
    } catch (error) {
      found[name] = error instanceof GpuError ? missing : `fails: ${(error as Error).message}`;
    }
  }
  return found;
}

async function shaders(): Promise<Section> {
  const folder = await ownPath('shaders');
  const files = await readdir(folder, { recursive: true }).catch(() => []);
  const count = files.filter((name) => name.endsWith('.wgsl')).length;
  if (count > 0) return { folder, files: count };
  return { files: 'none: the installation is incomplete' };
}

async function bundledModels(): Promise<Section> {
  try {
    const { root, models } = await readManifest();
    const section: Section = {};
    for (const [name, entry] of Object.entries(models)) {
      if (entry.folder === undefined) continue;
      section[name] = await openCheckpoint(join(root, entry.folder), { id: name, files: entry.files }).then(
        ({ architecture: { dims } }) => `${dims.layers} layers of ${dims.D}, checksums right`,
        (error: unknown) => (error as Error).message,
      );
    }
    return section;
  } catch (error) {
    return { manifest: (error as Error).message };
  }
}

async function folderSize(folder: string): Promise<string> {
  const found = await stat(folder).catch(() => undefined);
  if (!found) return `${folder} (not there)`;
  const names = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of names)
    if (entry.isFile())
      bytes += (await stat(join(entry.parentPath, entry.name)).catch(() => ({ size: 0 }))).size;
  return `${folder} (${megabytes(bytes)})`;
}

function show(terminal: Terminal, title: string, section: Section): void {
  terminal.heading(title);
  const entries = Object.entries(section);
  if (entries.length === 0) terminal.print('  none');
  const width = Math.max(...entries.map(([name]) => name.length));
  for (const [name, value] of entries) {
    const indent = ' '.repeat(width + 4);
    terminal.say(`  ${name.padEnd(width)}  ${value}`, terminal.columns > 60 ? indent : '    ');
  }
}

export const list = command({
  examples: { '$0 models list': 'what --model takes' },
  run: async (_args, { terminal }) => {
    const { models } = await readManifest();
    const rows = await Promise.all(
      Object.entries(models).map(async ([id, entry]) => ({
        id,
        source: entry.hub ?? 'bundled',
        edit_layer: entry.edit_layer,
        // Nothing is fetched to find out.
        folder: await findModel(id, { offline: true }).then(
          ({ folder }) => folder,
          () => null,
        ),
      })),
    );
    terminal.table(rows, [
      left('model', ({ id }) => id),
      left('from', ({ source }) => source),
      right('layer', ({ edit_layer }) => edit_layer),
      left('here', ({ folder }) => folder ?? '-'),
    ]);
    terminal.say('Any other model goes by its hub id or its folder.');
    return { result: { models: rows } };
  },
});

export const fetchModel = command({
  positionals: { model: { type: 'string', demandOption: true, describe: 'a known name or a hub id' } },
  flags: { revision: MODEL_FLAGS.revision, offline: MODEL_FLAGS.offline },
  examples: { '$0 models fetch facts': 'it is here already: its checksums are checked' },
  run: async ({ model, revision, offline }, { terminal, signal }) => {
    const { id, folder, checkpoint } = await openWatched(model, { revision, offline, signal }, terminal);
    const sha256 = await checkpoint.sha256();
    terminal.say(`${id} is complete: ${folder}`);
    return { model: { id, sha256 }, result: { folder } };
  },
});
