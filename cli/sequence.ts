/** `palimpsest sequence`: one edit after another on the same weights, into a folder, resumable after kill -9. */
import { readdir, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { UsageError } from '../src/errors.ts';
import { editFileName, writeEdit } from '../src/io/edit-files.ts';
import { sha256File } from '../src/io/file.ts';
import { openRun } from '../src/io/run.ts';
import { missingMeasures } from '../src/lab/metrics.ts';
import { SEQUENCE_HEAD, SEQUENCE_LINE, runSequence } from '../src/lab/sequence.ts';
import type { SequenceHead, SequenceLine, SequenceOptions, Survivor } from '../src/lab/sequence.ts';
import { percent, plural } from '../src/numerals.ts';
import { left, right } from '../src/table.ts';
import { command, type Report, type Run } from './commands.ts';
import { noteIdle, singleFlags, withEditing } from './edit-options.ts';
import { STUDY_FLAGS, asksForBatches, finishRun, showSequence, studyFacts } from './facts-study.ts';
import { FOLDERS } from './files.ts';
import { EDIT_FLAGS, FACTS_FLAGS, MODEL_FLAGS, flag, folder, or, whole } from './flags.ts';
import { DATA, EVERY, LAB_FLAGS, factsFrom, healthFrom, readHealth, settingsOf, tellDanger } from './lab.ts';
import type { HealthArguments, LabArguments } from './lab.ts';
import type { Terminal } from './terminal.ts';

const FALLEN = 10;
const EDITS = 100;

type SequenceCommand = LabArguments & HealthArguments & { readonly out: string; readonly resume: boolean };

export const sequence = command({
  positionals: { data: DATA },
  flags: {
    ...LAB_FLAGS,
    out: or(
      'sequence',
      folder('folder of the run: run.jsonl, end.json, report.html, edits/', FOLDERS.sequence),
    ),
    resume: flag('go on with the run in that folder'),
    every: whole(`edits between two measurements, the end is always one [default: ${EVERY}]`, 0),
    ...{ ...STUDY_FLAGS, ...EDIT_FLAGS, ...FACTS_FLAGS, ...MODEL_FLAGS },
  },
  examples: {
    '$0 sequence --method rome --count 40': 'forty edits; the guard marks those that disable the model',
    '$0 sequence --method rome --count 40 --resume': 'goes on with a run that was stopped',
  },
  run: async (args, run) => {
    noteIdle(args, run.terminal);
    if (!asksForBatches(args)) return runOne({ ...args, ...singleFlags(args) }, run);
    await checkEdits(resolve(args.out), args, run);
    return studyFacts({ ...args, count: args.count ?? EDITS }, run, true);
  },
});

async function runOne(args: SequenceCommand, run: Run): Promise<Report> {
  const { method = 'r-rome' } = args;
  if (method === 'all')
    throw new UsageError(
      '--method: a sequence runs one method, but all were asked for. Run it once for each, with its own --out.',
    );
  const { facts, name } = await factsFrom({ ...args, count: args.count ?? EDITS });
  const texts = await readHealth(args);
  const folder = resolve(args.out);
  await checkEdits(folder, args, run);
  const format = { mode: run.files.runMode, head: SEQUENCE_HEAD, line: SEQUENCE_LINE };
  const journal = await openRun<SequenceHead, SequenceLine>(folder, format);
  return withEditing(args, run, async (editing) => {
    const { edit, model, timed, terminal } = editing;
    const health = healthFrom(args, texts, editing);
    const settings = { ...settingsOf(editing, args, name), ...health.settings, method };
    journal.check(settings, facts);
    const { lines } = journal;
    const earlier = [...editing.earlier, ...(await keptIds(folder, lines))];
    const bar = terminal.progress('sequence');
    const options: SequenceOptions = {
      ...health.options,
      ...{ method, edit },
      onKept: async ({ number: place, ...made }) => {
        const path = editPath(folder, place);
        const circumstances = { covariance: edit.solver.key, seed: editing.contextsSeed, earlier };
        await writeEdit(path, { model, ...made, ...circumstances });
        earlier.push(await sha256File(path));
      },
      onLine: (line, total) => {
        const what = `edit ${line.edit}, ${METHOD_TABLE[method].title} on "${line.subject}"`;
        tellDanger(what, line, health.options.onCollapse, terminal);
        bar.update(line.edit, total);
      },
    };
    const survivors = await timed('sequence', () =>
      runSequence(model, facts, options, journal, settings),
    ).finally(bar.stop);
    const head = journal.head as SequenceHead;
    const command = `palimpsest sequence --method ${method} --count ${lines.length}`;
    const report = { sequence: { method, head, lines }, command, layers: [edit.layer] };
    const survival = await finishRun(editing, folder, survivors, report);
    showSequence(terminal, { head, lines });
    showSurvivors(terminal, survivors);
    for (const reason of missingMeasures(facts)) terminal.say(reason, '', 'dim');
    terminal.say(
      `Wrote ${folder}: run.jsonl has a line an edit, end.json what holds, report.html the figures. ` +
        `The edits that were kept are in edits: palimpsest predict TEXT --edits ${args.out}`,
    );
    return editing.report({ ...resultOf(lines, folder), survival });
  }).finally(journal.close);
}

/**
 * Edits of another run in the folder would count as those of this one.
 *
 * @throws UsageError when there are some that may not be removed
 */
async function checkEdits(folder: string, { resume }: Pick<SequenceCommand, 'resume'>, { files }: Run) {
  if (resume) return;
  const edits = resolve(folder, 'edits');
  const names = await readdir(edits).catch((): string[] => []);
  if (names.length === 0) return;
  if (!files.overwrite)
    throw new UsageError(
      `${edits}: expected no edits of another run, found ${names.length} files. Choose another folder with --out, or begin anew with --overwrite.`,
      'run_exists',
    );
  for (const name of names.filter((one) => /^\d+\.safetensors$/.test(one))) await rm(resolve(edits, name));
}

function resultOf(lines: readonly SequenceLine[], folder: string): object {
  const edits = (verdict: string): number[] =>
    lines.filter((line) => line.verdict === verdict).map(({ edit }) => edit);
  const refused = lines.filter(({ kept }) => !kept).map(({ edit }) => edit);
  return {
    ...lines.at(-1),
    n: lines.length,
    disabling: edits('disabling'),
    suspect: edits('suspect'),
    refused,
    folder,
  };
}

/** Where an edit that was kept lies, in the form that `edit --out` writes. */
function editPath(folder: string, number: number): string {
  return resolve(folder, 'edits', editFileName(number));
}

/** Ids of the edits that a run kept so far; a run from before they were written has none. */
async function keptIds(folder: string, lines: readonly SequenceLine[]): Promise<string[]> {
  const ids: string[] = [];
  for (const { edit, kept } of lines) {
    const id = kept ? await sha256File(editPath(folder, edit)).catch(() => undefined) : undefined;
    if (id !== undefined) ids.push(id);
  }
  return ids;
}

/** Which edits still hold after the last one. */
function showSurvivors(terminal: Terminal, survivors: readonly Survivor[]): void {
  const fallen = survivors.filter(({ holds }) => !holds);
  const compared = survivors.filter(({ by }) => by === 'comparison').length;
  const how =
    compared === survivors.length
      ? 'the new object is likelier than the true one'
      : compared === 0
        ? 'the new object is the arg-max'
        : 'the new object is likelier than the true one, or the arg-max where no true one is named';
  terminal.heading(
    `After the last edit ${survivors.length - fallen.length} of ${plural(survivors.length, 'kept edit')} hold${survivors.length === 1 ? 's' : ''}`,
  );
  terminal.say(`An edit holds where ${how}.`, '', 'dim');
  if (fallen.length > 0)
    terminal.table(fallen.slice(0, FALLEN), [
      left('fallen', ({ edit }) => edit),
      right('p(new)', ({ target_logprob }) => percent(target_logprob)),
      right('p(true)', ({ true_logprob }) => (true_logprob === null ? '' : percent(true_logprob))),
      left('fact', ({ subject, target_new }) => `${subject} → ${target_new}`),
    ]);
  terminal.print();
}
