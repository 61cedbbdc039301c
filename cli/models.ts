/** `palimpsest models list|fetch`: which checkpoints there are, and getting one before it is needed. */
import { findModel, openModel, readManifest } from '../src/io/models.ts';
import { command } from './commands.ts';
import { MODEL_FLAGS } from './flags.ts';
import { megabytes } from './text.ts';

/** Where a known model is: nothing is fetched to find out. */
async function whereIs(id: string): Promise<string | null> {
  return findModel(id, { offline: true }).then(
    (found) => found.folder,
    () => null,
  );
}

export const list = command({
  flags: (yargs) => yargs.example('$0 models list', 'what --model takes'),
  run: async (_args, { terminal }) => {
    const { models } = await readManifest();
    const rows = await Promise.all(
      Object.entries(models).map(async ([id, entry]) => ({
        id,
        source: entry.hub ?? 'bundled',
        edit_layer: entry.edit_layer,
        folder: await whereIs(id),
      })),
    );
    terminal.table(
      [{ title: 'model' }, { title: 'from' }, { title: 'layer', align: 'right' }, { title: 'here' }],
      rows.map((row) => [row.id, row.source, String(row.edit_layer), row.folder ?? '-']),
    );
    terminal.say('Any other model goes by its hub id or its folder.');
    return { result: { models: rows } };
  },
});

export const fetchModel = command({
  flags: (yargs) =>
    yargs
      .positional('model', { type: 'string', demandOption: true, describe: 'a known name or a hub id' })
      .options({ revision: MODEL_FLAGS.revision, offline: MODEL_FLAGS.offline })
      .example('$0 models fetch facts', 'it is here already: its checksums are checked'),
  run: async ({ model, revision, offline }, { terminal, signal }) => {
    const bar = terminal.progress('fetch', megabytes);
    try {
      const { id, folder, checkpoint } = await openModel(model, {
        revision,
        offline,
        signal,
        onProgress: ({ bytes, total }) => bar.update(bytes, total),
        onNotice: (text) => terminal.note(`palimpsest: ${text}`),
      });
      const sha256 = await checkpoint.sha256();
      terminal.say(`${id} is complete: ${folder}`);
      return { model: { id, sha256 }, result: { folder } };
    } finally {
      bar.stop();
    }
  },
});
