/** `palimpsest export FOLDER`: the edited model as a Hugging Face checkpoint that any library loads. */
import { addUpdates } from '../src/edit/apply.ts';
import { changesOf, targetsOf } from '../src/edit/facts-record.ts';
import { UsageError } from '../src/errors.ts';
import { bytesOf } from '../src/floats.ts';
import { openGpu } from '../src/gpu/node.ts';
import { exportCheckpoint } from '../src/io/export.ts';
import { read, upload } from '../src/tensor/tensor.ts';
import { command } from './commands.ts';
import { namedEditResult, readEdits, shortId } from './edit-list.ts';
import { MODEL_FLAGS, folder as folderFlag } from './flags.ts';
import { findCheckpoint, reportTimings, stopwatch } from './session.ts';
import { megabytes, plural } from './text.ts';

const { weights: _, ...FLAGS } = MODEL_FLAGS;

export const exportModel = command({
  flags: (yargs) =>
    yargs
      .positional('folder', folderFlag('folder', 'a new folder', {}))
      .options(FLAGS)
      .example('$0 export edited --edits darrieux.safetensors', 'a folder that transformers loads'),
  run: async (args, run) => {
    const { terminal, signal } = run;
    const { timings, timed } = stopwatch(run);
    const folder = args.folder ?? '';
    if (folder === '') throw new UsageError('export: expected a new folder, found an empty name.');
    const edits = await readEdits(args.edits ?? []);
    if (edits.length === 0)
      throw new UsageError(
        'export: expected --edits with edit files, an edit list or the folder of a sequence, found none. Without edits, copy the folder.',
      );
    const { found, checkpoint } = await timed('open', () => findCheckpoint(args, run, edits));
    const gpu = await timed('adapter', () => openGpu(args.adapter, { verbose: terminal.verbose }));
    const { description, kind, backend } = gpu.adapter;
    terminal.note(
      `palimpsest: ${description}${kind === 'software' ? ' (software)' : ''} · model ${checkpoint.id} · ${plural(edits.length, 'edit')}`,
    );
    const bar = terminal.progress('export', megabytes);
    try {
      const nameOf = checkpoint.architecture.canonical;
      const edited = new Map<string, typeof edits>();
      for (const edit of edits) {
        for (const { tensor } of targetsOf(edit.record))
          edited.set(tensor, [...(edited.get(tensor) ?? []), edit]);
      }
      const sha256 = await timed('write', () =>
        exportCheckpoint(found.folder, folder, {
          signal,
          onProgress: bar.update,
          metadata: {
            palimpsest_edits: JSON.stringify(edits.map(namedEditResult)),
          },
          replace: (stored) => edited.has(nameOf(stored)),
          // The same kernel on the same numbers as --edits uses: the folder is that model, bit for bit.
          change: (stored, shape, values) =>
            gpu.scope(async (s) => {
              const tensor = upload(s, values, shape, stored);
              const { layout } = checkpoint.architecture.editedWeight(0);
              const name = nameOf(stored);
              const changes = (edited.get(name) ?? []).flatMap(({ record }) => changesOf(record, name));
              await addUpdates(gpu, { tensor, layout }, changes);
              return bytesOf(await read(gpu, tensor));
            }),
        }),
      );
      bar.stop();
      terminal.say(
        `Wrote ${checkpoint.id} with ${edits.map(shortId).join(', ')} to ${folder} (sha256 ${sha256.slice(0, 12)}); ` +
          `${[...edited.keys()].join(', ')} ${edited.size === 1 ? 'is' : 'are'} stored as F32, all else as it was.`,
      );
      reportTimings({ timings }, run);
      return {
        adapter: { description, kind, backend },
        model: { id: checkpoint.id, sha256: await checkpoint.sha256() },
        result: { folder, sha256, edits: edits.map(namedEditResult), tensors: [...edited.keys()] },
        timings_ms: timings,
      };
    } finally {
      bar.stop();
      gpu.destroy();
    }
  },
});
