/** `palimpsest models list|fetch`: which checkpoints there are, and getting one before it is needed. */
import { openCheckpoint } from '../src/io/checkpoint.ts';
import { readManifest } from '../src/io/manifest.ts';
import { findModel } from '../src/io/models.ts';
import { command } from './command.ts';
import type { Command } from './command.ts';
import { COMMON_FLAGS } from './flags.ts';
import { megabytes } from './terminal.ts';

/** Where a known model is: nothing is fetched to find out. */
async function whereIs(id: string): Promise<string | null> {
  return findModel(id, { offline: true }).then(
    (found) => found.folder,
    () => null,
  );
}

const list = command({
  usage: 'list',
  summary: 'the known models, and where they are on this machine',
  flags: (yargs) => yargs.options(COMMON_FLAGS),
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
    terminal.say('Any other GPT-2 goes by its hub id or its folder.');
    return { result: { models: rows } };
  },
});

const fetchModel = command({
  usage: 'fetch <model>',
  summary: 'download a model into the Hugging Face cache, and check it',
  flags: (yargs) =>
    yargs
      .positional('model', { type: 'string', demandOption: true, describe: 'a known name or a hub id' })
      .options({ offline: { type: 'boolean', default: false, describe: 'never use the network' } })
      .options(COMMON_FLAGS),
  run: async ({ model, offline }, { terminal }) => {
    const bar = terminal.progress('fetch', megabytes);
    try {
      const found = await findModel(model, {
        offline,
        onProgress: ({ bytes, total }) => bar.update(bytes, total),
        onNotice: (text) => terminal.note(`palimpsest: ${text}`),
      });
      const checkpoint = await openCheckpoint(found.folder, { id: found.id, manifest: found.entry });
      const sha256 = await checkpoint.sha256();
      terminal.say(`${found.id} is complete: ${found.folder}`);
      return { model: { id: found.id, sha256 }, result: { folder: found.folder } };
    } finally {
      bar.stop();
    }
  },
});

const ACTIONS = [list, fetchModel];

export const models: Command = {
  name: 'models',
  usage: 'models <action>',
  register: (yargs, chosen) =>
    yargs.command('models', 'checkpoints: list, fetch', (inner) => {
      for (const action of ACTIONS) action.register(inner, chosen);
      return inner.demandCommand(1, `models: expected ${ACTIONS.map(({ name }) => name).join(', ')}.`);
    }),
};
