/** `palimpsest edit`: one fact, from the request to before and after. */
import { withUpdate } from '../src/edit/apply.ts';
import { computeEdit, type Edit, type Update } from '../src/edit/edit.ts';
import { judgeSuccess } from '../src/edit/guard.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import { readBracketed, readRequest, type EditRequest } from '../src/edit/request.ts';
import { editRows } from '../src/edit/rows.ts';
import { sentence } from '../src/edit/template.ts';
import { EditRefused, UsageError } from '../src/errors.ts';
import { bytesOf } from '../src/floats.ts';
import type { TensorToWrite } from '../src/formats/safetensors.ts';
import { writeSafetensors } from '../src/io/atomic.ts';
import { writeEdit } from '../src/io/edit-files.ts';
import { predict } from '../src/models/predict.ts';
import { percent } from '../src/numerals.ts';
import { command, type Report, type Run } from './commands.ts';
import { noteIdle, methodsFrom, withEditing, singleFlags, type EditArguments } from './edit-options.ts';
import { lossView, editResult, showComparison, showNumbers, showTokens } from './edit-view.ts';
import type { Comparison, State } from './edit-view.ts';
import { KINDS } from './files.ts';
import { EDIT_FLAGS, FACTS_FLAGS, MODEL_FLAGS, flag, input, once, output, type Given } from './flags.ts';
import { answer, readChecks, showAnswers } from './predict.ts';
import type { ModelArguments } from './session.ts';

const LISTED = 10;

export const OWN_FLAGS = {
  prompt: once('a prompt with {} where the subject goes, instead of brackets'),
  subject: once('the subject, with --prompt'),
  target: once('the target'),
  out: output('write the edit file here', KINDS.edit),
  dump: output('write every intermediate vector here', KINDS.dump),
  check: input('texts to see before and after: a line each, or {"prompt", "expect"} a line'),
  facts: input('many facts: a file that evaluate reads, CSV, or a plain line a fact'),
  resume: flag('with --facts: go on with a run that was stopped'),
  'allow-miss': flag('exit code 0 even if the target does not become likely'),
} as const;

const WORDS = {
  sentence: once('a prompt with its subject in [brackets]'),
  continuation: once('the target: what shall follow the prompt'),
} as const;

type EditCommand = EditArguments & ModelArguments & Given<typeof OWN_FLAGS & typeof WORDS>;

export const edit = command({
  positionals: WORDS,
  flags: { ...OWN_FLAGS, ...EDIT_FLAGS, ...FACTS_FLAGS, ...MODEL_FLAGS },
  conflicts: {
    sentence: ['prompt', 'subject'],
    continuation: 'target',
    facts: ['sentence', 'prompt', 'subject', 'target'],
  },
  examples: {
    '$0 edit "The mother tongue of [Danielle Darrieux] is" English --out darrieux.safetensors':
      'one edit by r-ROME, kept as a file',
  },
  run: async (args, run) => {
    const { facts } = args;
    noteIdle(args, run.terminal);
    if (facts !== undefined) return (await import('./edit-facts.ts')).editFacts({ ...args, facts }, run);
    for (const flag of ['batch', 'conflicts', 'memory', 'resume'] as const)
      if (args[flag] !== undefined && args[flag] !== false)
        throw new UsageError(`--${flag}: is for many facts; expected --facts FILE with it, found none.`);
    return editOne({ ...args, ...singleFlags(args) }, run);
  },
});

async function editOne(args: EditCommand, run: Run): Promise<Report> {
  const request = requestFrom(args);
  const methods = methodsFrom(args);
  const checks = args.check === undefined ? [] : await readChecks(args.check);
  if (args.out !== undefined && methods.length > 1)
    throw new UsageError(
      '--out: an edit file holds one method, but --method all makes three. Choose one with --method.',
    );
  return withEditing(args, run, async (editing) => {
    const { model, timed, timings, terminal, signal } = editing;
    const { layer, contexts, solver } = editing.edit;
    const rows = editRows(model.tokenizer, request, contexts, model.dims);
    showTokens(terminal, model.tokenizer, rows);
    const prompt = rows.rewrites[0]?.ids.slice(0, rows.rewrites[0].promptLength) ?? [];
    const probe = async (): Promise<State> => ({
      target: await predict(model, prompt, { count: LISTED, continuation: rows.targetIds }),
      answers: await answer(model, checks, LISTED),
    });

    const before = await timed('probe', probe);
    const loss = lossView(terminal, layer, contexts.length);
    const edited = await computeEdit(model, request, {
      ...editing.edit,
      methods,
      rows,
      signal,
      onPhase: (phase) => terminal.phase(phase),
      onStep: loss.step,
    });
    loss.end(edited);
    Object.assign(timings, edited.timings);

    refuseCollapse(args, edited);
    const outcomes: Comparison['outcomes'][number][] = [];
    for (const update of edited.updates.values()) {
      const after = await timed('verify', () => withUpdate(model, update, probe));
      outcomes.push({ update, after, success: judgeSuccess(before, after, rows.targetIds.length) });
    }
    const comparison = { edit: edited, before, outcomes };
    showComparison(terminal, comparison);
    if (checks.length > 0) {
      terminal.heading('Checks');
      showAnswers(terminal, checks, [
        { title: 'before', answers: before.answers },
        ...outcomes.map(({ update, after }) => ({
          title: outcomes.length === 1 ? 'after' : METHOD_TABLE[update.method].title,
          answers: after.answers,
        })),
      ]);
    }
    const { layout } = model.editedWeight(layer);
    showNumbers(terminal, comparison, editing.solverTitle, layout);
    for (const update of edited.updates.values()) if (update.verdict !== 'ok') terminal.warn(danger(update));

    terminal.print();
    if (args.dump !== undefined) {
      const { dump } = args;
      await timed('write', () => writeDump(dump, edited, signal));
      terminal.say(`Wrote every vector to ${dump}`);
    }
    const [first] = outcomes;
    if (args.out !== undefined && first) {
      const { out } = args;
      const circumstances = { covariance: solver.key, seed: editing.contextsSeed, earlier: editing.earlier };
      const made = { model, edit: edited, update: first.update };
      await timed('write', () => writeEdit(out, { ...made, ...circumstances }));
      terminal.say(
        `Wrote the edit to ${out}; try palimpsest predict ${JSON.stringify(sentence(request))} --compare --edits ${/\s/.test(out) ? JSON.stringify(out) : out}`,
      );
    } else if (methods.length === 1) {
      terminal.say('The model itself is unchanged; --out FILE keeps this edit as a file.', '', 'dim');
    }
    const result = {
      ...editResult(comparison, checks),
      solve: { ...first?.update.solved, covariance: solver.key },
      out: args.out,
      dump: args.dump,
    };
    const error = args.allowMiss ? undefined : missed(comparison, args.out);
    return editing.report(result, error);
  });
}

/** @throws UsageError when the words give no request, or two */
function requestFrom(args: EditCommand): EditRequest {
  const { sentence, continuation, prompt, subject, target } = args;
  const ways =
    'Write palimpsest edit "The mother tongue of [Danielle Darrieux] is" "English", ' +
    'or --prompt "The mother tongue of {} is" --subject "Danielle Darrieux" --target "English".';
  const wanted = continuation ?? target;
  if (sentence !== undefined) {
    if (wanted === undefined)
      throw new UsageError(`target: expected the text that shall follow the prompt, found none. ${ways}`);
    return readBracketed(sentence, wanted);
  }
  const missing = Object.entries({ '--prompt': prompt, '--subject': subject, '--target': wanted })
    .filter(([, value]) => value === undefined)
    .map(([flag]) => flag);
  if (missing.length > 0) {
    const found = missing.length === 3 ? 'nothing to edit was given' : `${missing.join(' and ')} is missing`;
    throw new UsageError(`edit: expected a prompt, its subject and a target, but ${found}. ${ways}`);
  }
  return readRequest({ prompt: prompt ?? '', subject: subject ?? '', target: wanted ?? '' });
}

/**
 * Before the model is asked with an edit in it that it would not survive.
 *
 * @throws EditRefused for one under --on-collapse refuse, and for one without numbers in any case
 */
function refuseCollapse({ onCollapse }: EditCommand, { updates }: Edit): void {
  for (const update of updates.values()) {
    if (!Number.isFinite(update.updateNorm))
      throw new EditRefused(
        `${METHOD_TABLE[update.method].title}: expected an update of finite numbers, it has none: the search for v* went astray. ` +
          'Nothing was written. Try a smaller --learning-rate, or --clamp.',
        'diverged',
      );
    if (update.verdict === 'disabling' && onCollapse === 'refuse')
      throw new EditRefused(
        `${danger(update)} Nothing was written. Try another method, or more context with --contexts.`,
        'disabling',
      );
  }
}

function danger({ method, verdict, cosine, relativeUpdate }: Update): string {
  return (
    `${METHOD_TABLE[method].title}: ${verdict === 'disabling' ? 'this edit would disable the model' : 'this edit is suspect'}: ` +
    `cosine ${cosine.toPrecision(3)} between key and u, update ${relativeUpdate.toPrecision(3)} times as large as W.`
  );
}

function missed({ edit, before, outcomes }: Comparison, out: string | undefined): EditRefused | undefined {
  const [first] = outcomes;
  if (!first || outcomes.some(({ success }) => success !== 'missed')) return undefined;
  const [was, is] = [before, first.after].map((state) => percent(state.target.continuationLogprob));
  return new EditRefused(
    `edit: expected "${edit.request.target}" to become likely after the prompt, but the edit missed: ${was} before, ${is} after.` +
      `${out === undefined ? '' : ` ${out} was written all the same.`}` +
      ' Try a prompt that reads on to the target, another --layer, more --steps or a larger --clamp; --allow-miss takes it as it is.',
    'missed',
  );
}

/** `--dump FILE`: one method's Λ is `lambda`; of several, `lambda.METHOD`, and p-ROME's own direction `u.p-rome`. */
async function writeDump(path: string, { vectors, updates }: Edit, signal: AbortSignal): Promise<void> {
  const vector = (name: string, values: Float32Array): TensorToWrite => ({
    name,
    dtype: 'F32',
    shape: [values.length],
    data: bytesOf(values),
  });
  const all: readonly Update[] = [...updates.values()];
  const several = all.length > 1;
  const tensors = Object.entries(vectors).map(([name, values]) => vector(name, values));
  // All but p-ROME write along the same u.
  const mean = all.find(({ method }) => method !== 'p-rome') ?? all[0];
  if (mean) tensors.push(vector('u', mean.U));
  for (const { method, Lambda, U } of all) {
    tensors.push(vector(several ? `lambda.${method}` : 'lambda', Lambda));
    if (several && method === 'p-rome') tensors.push(vector('u.p-rome', U));
  }
  await writeSafetensors(path, tensors, { metadata: { schema: 'palimpsest.dump/1' }, signal });
}
