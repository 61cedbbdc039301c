/**
 * An edit shown step by step: `palimpsest explain` replays an edit file with its equations, shapes, shaders and numbers;
 * `palimpsest page` serves the page on which edits are made in a browser.
 */
import { spawn } from 'node:child_process';
import process from 'node:process';
import * as v from 'valibot';
import { parseContexts } from '../src/edit/contexts.ts';
import { computeEdit } from '../src/edit/edit.ts';
import { isFactsRecord, requestsOf } from '../src/edit/facts-record.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { EditRecord } from '../src/edit/record.ts';
import type { ValueOptions } from '../src/edit/value.ts';
import { UsageError } from '../src/errors.ts';
import { copyPage, pageMounts } from '../src/io/page-files.ts';
import { serve } from '../src/io/static-server.ts';
import { jsonFrom } from '../src/json.ts';
import { explainEdit, type ExplainStep } from '../src/lab/explain.ts';
import { short } from '../src/numerals.ts';
import { distance, norm } from '../src/statistics.ts';
import { DEFAULT_LIST } from './apply.ts';
import { command } from './commands.ts';
import { isEditList, readEdit, readEdits, type NamedEdit } from './edit-list.ts';
import { EDIT_FLAGS, MODEL_FLAGS, flag, folder, once, text, whole } from './flags.ts';
import { applyNamed, introduce, withSession } from './session.ts';
import { chooseSolver, said } from './edit-options.ts';
import type { Terminal } from './terminal.ts';

export const explain = command({
  positionals: { file: once(`an edit file, or a list whose last edit is meant [default: ${DEFAULT_LIST}]`) },
  flags: { covariance: EDIT_FLAGS.covariance, ...MODEL_FLAGS },
  examples: { '$0 explain darrieux.safetensors': 'the edit of palimpsest edit --help' },
  run: async (args, run) => {
    const { file, id, record, before } = await lastEdit(args.file ?? DEFAULT_LIST);
    if (isFactsRecord(record))
      throw new UsageError(
        `explain ${file}: expected the file of a single edit, found ${requestsOf(record).length} facts that were written by ${METHOD_TABLE[record.method].title}. palimpsest history and predict --edits take it.`,
      );
    const edits = args.edits ?? before;
    const named = { ...args, edits, model: args.model ?? record.model.id };
    const layers = (): number[] => [record.layer];
    return withSession(named, run, { layers }, async (session) => {
      const { model, timed, terminal, signal } = session;
      const wanted = args.covariance ?? (record.metadata['covariance'] === 'identity' ? 'identity' : 'auto');
      const { solver, title } = await timed('covariance', () => chooseSolver(session, record.layer, wanted));
      introduce(session, title);
      await applyNamed(session);
      const edit = await timed('replay', () =>
        computeEdit(model, record.request, {
          ...optionsOf(record, file),
          methods: [record.method],
          layer: record.layer,
          contexts: parseContexts(record.metadata['contexts'] ?? '["{}"]', file),
          solver,
          signal,
        }),
      );
      const update = edit.updates.get(record.method);
      if (!update) throw new RangeError(`explain: no update of ${record.method}.`);
      const steps = explainEdit(model, edit, update);
      steps.forEach((step, i) => show(terminal, step, i + 1));
      const difference = distance(update.Lambda, record.Lambda) / norm(record.Lambda);
      terminal.print();
      terminal.say(
        `Replayed: lambda differs from that of ${file} by ${short(difference)}, relative.` +
          (difference < 1e-3
            ? ''
            : ' The model, its covariance or the edits before it are not those of the file: try --edits and --covariance.'),
      );
      return session.report({ file, id, method: record.method, layer: record.layer, difference, steps });
    });
  },
});

/** The edit that is meant, and the files of a list that come before it. */
async function lastEdit(name: string): Promise<NamedEdit & { before: string[] }> {
  if (!isEditList(name)) return { ...(await readEdit(name)), before: [] };
  const edits = await readEdits([name]);
  const last = edits.at(-1);
  if (!last) throw new UsageError(`${name}: expected at least one edit, found none. Name an edit file.`);
  return { ...last, before: edits.slice(0, -1).map(({ file }) => file) };
}

const NUMBER = v.optional(v.number());
const OPTIONS = v.object({
  ...{ steps: NUMBER, learning_rate: NUMBER, clamp: NUMBER, kl_factor: NUMBER, weight_decay: NUMBER },
  ...{ stop_after: NUMBER, anchor_norm: NUMBER },
});

/** @throws UsageError for options that are not numbers */
function optionsOf({ metadata }: EditRecord, file: string): Partial<ValueOptions> {
  const fault = (): UsageError =>
    new UsageError(`edit file ${file}: options: expected an object of numbers.`, 'bad_edit_file');
  const { success, output } = v.safeParse(OPTIONS, jsonFrom(metadata['options'] ?? '{}', fault));
  if (!success) throw fault();
  const {
    steps,
    clamp,
    learning_rate: learningRate,
    kl_factor: klFactor,
    weight_decay: weightDecay,
  } = output;
  const { stop_after: stopAfter, anchor_norm: anchorNorm } = output; // absent in older files
  return said({ steps, clamp, learningRate, klFactor, weightDecay, stopAfter, anchorNorm });
}

function show(
  terminal: Terminal,
  { title, equation, meaning, shapes, shaders, numbers }: ExplainStep,
  place: number,
): void {
  terminal.heading(`${place}. ${title}`);
  for (const line of equation) terminal.say(`    ${line}`, '      ', 'cyan');
  terminal.say(`  ${meaning}`, '  ');
  if (shapes.length > 0)
    terminal.say(
      `  shapes   ${shapes.map(([symbol, shape]) => `${symbol} ${shape}`).join(' · ')}`,
      '           ',
      'dim',
    );
  terminal.say(`  shaders  ${shaders.map((name) => `shaders/${name}.wgsl`).join(' ')}`, '           ', 'dim');
  const width = Math.max(...numbers.map(([name]) => name.length));
  for (const [name, value] of numbers)
    terminal.print(
      `  ${name.padEnd(width)}  ${Number.isInteger(value) ? value.toLocaleString('en') : short(value)}`,
    );
}

const PORT = 8017;

export const page = command({
  flags: {
    port: whole(`where it listens; 0: any free port [default: ${PORT}]`, 0),
    host: text('who may reach it: this machine alone, or 0.0.0.0 [default: 127.0.0.1]'),
    open: flag('open it in the browser; --no-open only serves', true),
    out: folder('write it into this folder instead, for any host of static files', {}),
  },
  run: async ({ port = PORT, host = '127.0.0.1', open, out }, { terminal, signal }) => {
    if (out !== undefined) {
      const files = await copyPage(out);
      terminal.say(
        `Wrote the page to ${out}, ${files} files: put them on any host of static files, under any path.`,
      );
      return { result: { folder: out, files } };
    }
    const served = await serve(await pageMounts(), { port, host, headers: HEADERS });
    terminal.say(`The page is at ${served.url}`);
    terminal.note(`palimpsest: serving ${served.url}; Ctrl-C ends it.`);
    if (open) openBrowser(served.url);
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    await served.close();
    return { result: { url: served.url } };
  },
});

/** What the page's own Content-Security-Policy cannot say. */
const HEADERS = {
  'Content-Security-Policy': "frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
};

/** A machine without a browser is no error: the address stands above. */
function openBrowser(url: string): void {
  const [program, ...words] = {
    darwin: ['open', url],
    win32: ['cmd', '/c', 'start', '', url],
  }[process.platform as string] ?? ['xdg-open', url];
  spawn(program as string, words, { stdio: 'ignore', detached: true })
    .on('error', () => undefined)
    .unref();
}
