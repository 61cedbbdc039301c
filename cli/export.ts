/** `palimpsest export`, `import` and `merge`: edits leave as a checkpoint or an adapter, come back, and become one file. */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { adapterOf } from '../src/edit/adapter.ts';
import { addUpdates } from '../src/edit/apply.ts';
import { changesOf, targetsOf } from '../src/edit/facts-record.ts';
import { mergeEdits } from '../src/edit/merge.ts';
import { UsageError } from '../src/errors.ts';
import { sealed } from '../src/formats/checksum.ts';
import { openGpu } from '../src/gpu/node.ts';
import { readAdapter, writeEditFiles, writeGgufAdapter, writePeft } from '../src/io/adapters.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { checkNew, exportCheckpoint } from '../src/io/export.ts';
import { isGguf } from '../src/io/model-folder.ts';
import type { OpenedModel } from '../src/io/models.ts';
import { versions } from '../src/io/file.ts';
import { megabytes, percent, plural } from '../src/numerals.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { command, type Report, type Run } from './commands.ts';
import { namedEditResult, readEdit, readEdits, shortId, type NamedEdit } from './edit-list.ts';
import { KINDS } from './files.ts';
import { MODEL_FLAGS, choice, files, folder as folderFlag, input, or, output } from './flags.ts';
import { aboutAdapter, adapterName, findCheckpoint, reportTimings, stopwatch } from './session.ts';

const { weights: _, ...FLAGS } = MODEL_FLAGS;

export const exportModel = command({
  positionals: { folder: folderFlag('a new folder', {}) },
  flags: {
    format: choice(
      ['checkpoint', 'peft', 'gguf'],
      'the edited model, or the edits alone as a LoRA adapter for PEFT, or for llama.cpp and Ollama [default: checkpoint]',
    ),
    dtype: choice(
      ['f32', 'stored'],
      'of edited matrices in a checkpoint: exact, or as the model has them, which rounds the edit [default: f32]',
    ),
    ...FLAGS,
  },
  examples: {
    '$0 export edited --edits darrieux.safetensors': 'a folder that transformers loads',
    '$0 export adapter --format peft --edits darrieux.safetensors':
      'a folder that PeftModel.from_pretrained loads',
  },
  run: async (args, run) => {
    const { format = 'checkpoint', dtype } = args;
    const folder = args.folder ?? '';
    if (folder === '') throw new UsageError('export: expected a new folder, found an empty name.');
    if (dtype !== undefined && format !== 'checkpoint')
      throw new UsageError(`--dtype ${dtype}: adapters hold the edits as they are. Leave it out.`);
    const edits = await readEdits(args.edits ?? []);
    if (edits.length === 0)
      throw new UsageError(
        'export: expected --edits with edit files, an edit list or the folder of a sequence, found none. Without edits, copy the folder.',
      );
    await checkNew(resolve(folder), folder);
    const { timings, timed } = stopwatch(run);
    const found = await timed('open', () => findCheckpoint(args, run, edits));
    const { checkpoint } = found;
    const job: Job = { folder, edits, found, run, timed };
    const report =
      format === 'checkpoint'
        ? await writeCheckpoint(job, dtype ?? 'f32', args.adapter)
        : await writeAdapter(job, format);
    reportTimings({ timings }, run);
    return {
      ...report,
      model: { id: checkpoint.id, sha256: await checkpoint.sha256() },
      timings_ms: timings,
    };
  },
});

interface Job {
  readonly folder: string;
  readonly edits: readonly NamedEdit[];
  readonly found: OpenedModel;
  readonly run: Run;
  readonly timed: <T>(phase: string, work: () => Promise<T>) => Promise<T>;
}

async function writeAdapter(job: Job, format: 'peft' | 'gguf'): Promise<Report> {
  const { folder, edits, run, timed } = job;
  const { checkpoint } = job.found;
  const adapter = adapterOf(edits.map(({ record }) => record));
  // Of a file without some of its batches, the words and the checksum are those of the whole.
  const whole = edits.every(({ without }) => without.length === 0);
  const base = { id: checkpoint.id, architecture: checkpoint.architecture.name };
  const write = format === 'peft' ? writePeft : writeGgufAdapter;
  const files = await timed('write', () =>
    write(folder, whole ? adapter : { ...adapter, edits: undefined }, base, { signal: run.signal }),
  );
  const layers = adapter.modules.map(({ layer }) => layer);
  run.terminal.say(
    `Wrote ${plural(edits.length, 'edit')} of ${checkpoint.id} as a LoRA of rank ${adapter.rank} on layer ${layers.join(', ')} to ${folder} (${files.join(', ')}). ` +
      (format === 'peft'
        ? 'In Python: PeftModel.from_pretrained(model, FOLDER).'
        : 'llama.cpp takes it with --lora, over quantised files of this model, too.') +
      (whole ? '' : ' Batches of an edit file were left out: it cannot be turned into edit files again.'),
  );
  return { result: { folder, format, files, rank: adapter.rank, layers, edits: edits.map(namedEditResult) } };
}

async function writeCheckpoint(
  { folder, edits, found, run, timed }: Job,
  dtype: 'f32' | 'stored',
  wanted: string | undefined,
): Promise<Report> {
  const { terminal, signal } = run;
  const { checkpoint } = found;
  if (isGguf(found.folder))
    throw new UsageError(
      `export: expected a model that is a folder, ${found.id} is one GGUF file: its blocks cannot hold an edit exactly. Write the edits as an adapter over that file, with --format gguf.`,
      'gguf_model',
    );
  const gpu = await timed('adapter', () => openGpu(wanted, { verbose: terminal.verbose }));
  terminal.note(
    `palimpsest: ${adapterName(gpu.adapter)} · model ${checkpoint.id} · ${plural(edits.length, 'edit')}`,
  );
  const bar = terminal.progress('export', megabytes);
  try {
    const nameOf = checkpoint.architecture.canonical;
    const edited = new Map<string, NamedEdit[]>();
    for (const edit of edits) {
      for (const { tensor } of targetsOf(edit.record))
        edited.set(tensor, [...(edited.get(tensor) ?? []), edit]);
    }
    const { sha256, rounded } = await timed('write', () =>
      exportCheckpoint(found.folder, folder, {
        signal,
        onProgress: bar.update,
        dtype,
        metadata: { palimpsest_edits: JSON.stringify(edits.map(namedEditResult)) },
        replace: (stored) => edited.has(nameOf(stored)),
        // The same kernel on the same numbers as --edits uses: stored as F32, the folder is that model, bit for bit.
        change: (stored, shape, values) =>
          gpu.scope(async (s) => {
            const tensor = upload(s, values, shape, stored);
            const { layout } = checkpoint.architecture.editedWeight(0);
            const name = nameOf(stored);
            const changes = (edited.get(name) ?? []).flatMap(({ record }) => changesOf(record, name));
            await addUpdates(gpu, { tensor, layout }, changes);
            return read(gpu, tensor);
          }),
      }),
    );
    bar.stop();
    const kept =
      rounded === 0
        ? 'as F32'
        : `as the model has ${edited.size === 1 ? 'it' : 'them'}: ${percent(Math.log(rounded))} of the change is rounded away`;
    terminal.say(
      `Wrote ${checkpoint.id} with ${edits.map(shortId).join(', ')} to ${folder} (sha256 ${sha256.slice(0, 12)}); ` +
        `${[...edited.keys()].join(', ')} ${edited.size === 1 ? 'is' : 'are'} stored ${kept}, all else as it was.`,
    );
    return {
      adapter: aboutAdapter(gpu),
      result: {
        folder,
        format: 'checkpoint',
        sha256,
        rounded,
        edits: edits.map(namedEditResult),
        tensors: [...edited.keys()],
      },
    };
  } finally {
    bar.stop();
    gpu.destroy();
  }
}

export const merge = command({
  positionals: { files: files('edit files, edit lists, or folders of sequence runs, in order') },
  flags: { out: or('merged.safetensors', output('the one edit file', KINDS.edit)) },
  examples: { '$0 merge run-rome --out run-rome.safetensors': 'all edits of a run as one file' },
  run: async (args, { terminal, signal, files: named }) => {
    const edits = await readEdits(args.files ?? []);
    await named.reads('files', ...edits.map(({ file }) => file)); // those in a folder or a list, too
    const { tensors, metadata } = mergeEdits(edits, versions());
    await writeSafetensors(args.out, tensors, { metadata: await sealed(metadata, tensors), signal });
    const one = await readEdit(args.out);
    const layers = targetsOf(one.record).map(({ layer }) => layer);
    terminal.say(
      `Wrote ${plural(edits.length, 'edit')} of ${one.record.model.id} as one file, ${args.out} (${shortId(one)}), on layer ${layers.join(', ')}.`,
    );
    return { result: { file: args.out, merged: edits.map(({ id }) => id), ...namedEditResult(one) } };
  },
});

export const importAdapter = command({
  positionals: { adapter: input('a PEFT folder, or a .gguf file, that export wrote') },
  flags: {
    out: or('imported', folderFlag('a new folder for the edit files', {})),
    model: FLAGS.model,
    revision: FLAGS.revision,
    offline: FLAGS.offline,
    fetch: FLAGS.fetch,
  },
  examples: { '$0 import adapter --out back': 'edit files again, to be named with --edits back' },
  run: async (args, run) => {
    const folder = args.out;
    const files = await readAdapter(args.adapter ?? '');
    await checkNew(resolve(folder), folder);
    const paths = await writeEditFiles(folder, files, { signal: run.signal });
    try {
      // As every reader of edit files does: numbers against their checksums, then the model.
      const edits = await readEdits(paths);
      const { checkpoint } = await findCheckpoint(args, run, edits);
      run.terminal.say(
        `Wrote ${plural(edits.length, 'edit file')} of ${checkpoint.id} to ${folder}: ${edits.map(shortId).join(', ')}. Name them with --edits ${folder}.`,
      );
      return {
        model: { id: checkpoint.id, sha256: await checkpoint.sha256() },
        result: { folder, edits: edits.map(namedEditResult) },
      };
    } catch (error) {
      await rm(join(folder, 'edits'), { recursive: true, force: true });
      throw error;
    }
  },
});
