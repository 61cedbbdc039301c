/** `palimpsest edit`: one fact, from the request to before and after. */
import { withUpdate } from '../src/edit/apply.ts';
import { computeEdit } from '../src/edit/edit.ts';
import type { Edit } from '../src/edit/edit.ts';
import { METHOD_TABLE } from '../src/edit/method.ts';
import type { Method } from '../src/edit/method.ts';
import { editRows } from '../src/edit/rows.ts';
import type { EditRequest } from '../src/edit/request.ts';
import { EditRefused, UsageError } from '../src/errors.ts';
import { predict } from '../src/models/predict.ts';
import type { Model } from '../src/models/model.ts';
import { command } from './command.ts';
import type { Report, Run } from './command.ts';
import { writeDump, writeEditFile } from './edit-files-out.ts';
import {
  contextsFrom,
  layerFrom,
  methodsFrom,
  requestFrom,
  sampledContexts,
  valueOptionsFrom,
} from './edit-options.ts';
import type { EditArguments } from './edit-options.ts';
import { editResult, probeOf } from './edit-result.ts';
import type { Probe } from './edit-result.ts';
import { LossView, showComparison, showNumbers, showTokens } from './edit-view.ts';
import { EDIT_FLAGS, MODEL_FLAGS, once, text } from './flags.ts';
import { checkWritable } from './files.ts';
import { applyNamed, introduce, reportTimings, withSession } from './session.ts';
import type { ModelArguments, Session } from './session.ts';
import { chooseSolver } from './edit-options.ts';
import { versions } from '../src/io/version.ts';

const LISTED = 10;

export interface EditCommand extends EditArguments, ModelArguments {
  readonly out?: string | undefined;
  readonly dump?: string | undefined;
}

export const edit = command({
  flags: (yargs) =>
    yargs
      .positional('sentence', once('sentence', 'a prompt with its subject in [brackets]'))
      .positional('continuation', once('continuation', 'the target: what shall follow the prompt'))
      .options({
        prompt: once('--prompt', 'a prompt with {} where the subject goes, instead of brackets'),
        subject: once('--subject', 'the subject, with --prompt'),
        target: once('--target', 'the target'),
        out: text('--out', 'write the edit file here'),
        dump: text('--dump', 'write every intermediate vector here'),
      })
      .options(EDIT_FLAGS)
      .options(MODEL_FLAGS)
      .example('$0 edit "[Paris] lies in" "Italy"', 'one edit by r-ROME'),
  run: async (args, run) => runEdit(args, requestFrom(args), run),
});

/** One edit with all its output; `demo` is one, too. */
export async function runEdit(args: EditCommand, request: EditRequest, run: Run): Promise<Report> {
  const methods = methodsFrom(args);
  const given = await contextsFrom(args);
  await checkFiles(args);
  return withSession(args, run, (session) => editIn(session, args, request, methods, given, run), {
    layer: ({ id, architecture }, entry) => layerFrom(args, id, architecture.dims.layers, entry),
  });
}

async function editIn(
  session: Session,
  args: EditCommand,
  request: EditRequest,
  methods: readonly Method[],
  given: readonly string[] | undefined,
  run: Run,
): Promise<Report> {
  const { model, found, timed, timings } = session;
  const { terminal, signal } = run;
  const layer = layerFrom(args, model.id, model.dims.layers, found.entry);
  model.checkLayer('edit', layer);
  const { solver, title } = await timed('covariance', () => chooseSolver(session, layer, args.covariance));
  introduce(session, run, title);

  const seed = args.seed ?? 0;
  const contexts = given ?? (await sampledContexts(session, run, seed));
  await applyNamed(session);
  const rows = editRows(model.tokenizer, request, contexts, model.dims.context);
  showTokens(terminal, model.tokenizer, rows);
  const prompt = rows.rewrites[0]?.ids.slice(0, rows.rewrites[0].promptLength) ?? [];
  const probe = async (): Promise<Probe> => probeOf(await predict(model, prompt, LISTED, rows.targetIds));

  const before = await timed('probe', probe);
  const loss = new LossView(terminal, layer, contexts.length);
  const edited = await computeEdit(model, request, {
    ...valueOptionsFrom(args, found.entry),
    methods,
    layer,
    contexts,
    solver,
    freeze: args.freeze,
    signal,
    onPhase: (phase) => terminal.phase(phase),
    onStep: (row, step) => loss.step(row, step),
  });
  loss.end(edited);
  Object.assign(timings, edited.timings);

  const after = new Map<Method, Probe>();
  for (const [method, update] of edited.updates)
    after.set(method, await timed('verify', () => withUpdate(model, layer, update, probe)));
  showComparison(terminal, sentence(request), request.target, before, after);
  showNumbers(terminal, edited, title);
  guard(args, edited, run);

  const circumstances = {
    seed: given ? undefined : seed,
    covariance: solver.key,
    earlier: session.edits.map(({ id }) => id),
    versions: versions(),
  };
  await timed('write', () => writeFiles(args, model, edited, circumstances, run));
  reportTimings(session, run);
  const files = { covariance: solver.key, out: args.out, dump: args.dump };
  return { ...session.about, result: editResult(edited, before, after, files), timings_ms: timings };
}

/** Finds out before the work what would stop the files after it. */
async function checkFiles({ out, dump, method }: EditCommand): Promise<void> {
  if (out !== undefined && method === 'all')
    throw new UsageError(
      '--out: an edit file holds one method, but --method all makes three. Choose one with --method.',
    );
  if (out !== undefined && out === dump)
    throw new UsageError(`--out and --dump name the same file ${out}. Choose two names.`);
  if (out !== undefined) await checkWritable('--out', out);
  if (dump !== undefined) await checkWritable('--dump', dump);
}

/** @throws EditRefused for a disabling edit under --on-collapse refuse */
function guard(args: EditCommand, { updates }: Edit, { terminal }: Run): void {
  for (const { method, verdict, cosine, relativeUpdate } of updates.values()) {
    if (verdict === 'ok') continue;
    const what =
      `${METHOD_TABLE[method].title}: ${verdict === 'disabling' ? 'this edit would disable the model' : 'this edit is suspect'}: ` +
      `cosine ${cosine.toPrecision(3)} between key and u, update ${relativeUpdate.toPrecision(3)} times as large as W.`;
    if (verdict === 'disabling' && args.onCollapse === 'refuse')
      throw new EditRefused(
        `${what} Nothing was written. Try another method, or more context with --contexts.`,
        'disabling',
      );
    terminal.warn(what);
  }
}

async function writeFiles(
  args: EditCommand,
  model: Model,
  edited: Edit,
  circumstances: Parameters<typeof writeEditFile>[4],
  { terminal, signal }: Run,
): Promise<void> {
  const [update] = edited.updates.values();
  terminal.print();
  if (args.dump !== undefined) {
    await writeDump(args.dump, edited, signal);
    terminal.say(`Wrote every vector to ${args.dump}`);
  }
  if (args.out !== undefined && update) {
    await writeEditFile(args.out, model, edited, update, circumstances, signal);
    terminal.say(
      `Wrote the edit to ${args.out}; try palimpsest predict ${JSON.stringify(sentence(edited.request))} --edits ${args.out}`,
    );
  } else if (args.out === undefined && args.method !== 'all') {
    terminal.say('The model itself is unchanged; --out FILE keeps this edit as a file.', '', 'dim');
  }
}

function sentence({ prompt, subject }: EditRequest): string {
  const at = prompt.indexOf('{}');
  return prompt.slice(0, at) + subject + prompt.slice(at + 2);
}
