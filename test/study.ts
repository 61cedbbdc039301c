/** A study to draw: the reference's sequences and single edits, and made-up numbers where the reference has none. */
import type { Method } from '../src/edit/method.ts';
import { judge } from '../src/edit/guard.ts';
import type { CaseResult, MethodResult } from '../src/lab/evaluate.ts';
import type { SequenceRun, Study } from '../src/lab/report/study.ts';
import { averageTracings } from '../src/lab/trace-average.ts';
import type { Tracing } from '../src/lab/trace.ts';
import { Random } from '../src/models/random.ts';
import { goldenEvaluation as evaluation, goldenSequence as sequence, type GoldenUpdate } from './golden.ts';

const random = new Random(1);
const METHODS: readonly Method[] = ['rome', 'p-rome', 'r-rome'];
const share = (list: boolean[]): number => list.filter(Boolean).length / list.length;

function run(method: 'rome' | 'r-rome'): SequenceRun {
  const { weight_norm, elements, records, lines } = sequence;
  const cosineOf = (divisor: number): number => divisor / 6;
  return {
    method,
    head: { schema: 1, settings: {}, weight_norm, elements, before: { perplexity: 8.2, entropy: 0.9 } },
    lines: lines[method].map((line, i) => {
      const { prompt, subject, target_new } = records[i]!.requested_rewrite;
      const [relative_update, cosine] = [line.update_norm / weight_norm, cosineOf(line.divisor)];
      const worn = Math.min(1, line.total_norm / 400);
      const values = { ES: 100 - 40 * worn, PS: 90 - 50 * worn, NS: 80 - 60 * worn, S: 88 - 60 * worn };
      const due = line.perplexity === undefined ? {} : { perplexity: line.perplexity };
      const [recent, earlier] = [
        { n: 10, values },
        { n: i - 9, values: { ...values, ES: values.ES - 9 } },
      ];
      return {
        ...{ edit: i + 1, case_id: line.case_id, method, prompt, subject, target_new: target_new.str },
        ...{
          update_norm: line.update_norm,
          lambda_norm: line.update_norm,
          total_norm: line.total_norm,
          divisor: line.divisor,
          cosine,
        },
        ...{ normalised_update: line.update_norm / elements, normalised_total: line.total_norm / elements },
        ...{ relative_update, relative_total: line.total_norm / weight_norm },
        ...{ verdict: judge(cosine, relative_update), kept: true },
        ...{ target_logprob: -line.nll[0], true_logprob: -line.nll[1], took: line.nll[0] < line.nll[1] },
        ...(line.perplexity === undefined
          ? {}
          : { ...due, entropy: 0.9 - worn / 2, metrics: { recent, earlier } }),
      };
    }),
  };
}

function result({ update_norm, divisor, scores }: GoldenUpdate, subjectFirst: boolean): MethodResult {
  const { weight_norm, elements } = sequence;
  const [cosine, relative_update] = [divisor / 6, update_norm / weight_norm];
  const wins = ([fresh = [], old = []]: number[][]): number => share(fresh.map((nll, i) => nll < old[i]!));
  const metrics = {
    ES: wins(scores.rewrite),
    PS: wins(scores.paraphrase),
    NS: 1 - wins(scores.neighborhood),
    EM: 1,
    PM: 0.5,
    NM: 0.6,
  };
  const entropy = (subjectFirst ? 0.75 : 0.9) + 0.06 * random.uniform();
  const texts = ['The <b>author</b> of "Rome" & others, a text that goes on and on, '.repeat(6)];
  return {
    ...{
      update_norm,
      lambda_norm: update_norm,
      divisor,
      cosine,
      relative_update,
      normalised_update: update_norm / elements,
    },
    ...{ verdict: judge(cosine, relative_update), metrics, texts, entropy, GE: 100 * (5 + random.uniform()) },
  };
}

function single(i: number): CaseResult {
  const { case_id, requested_rewrite } = evaluation.records[i]!;
  const { prompt, subject, target_new, target_true } = requested_rewrite;
  const rate = 0.2 + 0.3 * random.uniform();
  return {
    ...{
      case_id,
      prompt,
      subject,
      target_new: target_new.str,
      target_true: target_true.str,
      target_tokens: 1,
    },
    loss: Array.from({ length: 20 }, (_, step) => 9 * Math.exp(-rate * step) + 0.05),
    methods: Object.fromEntries(
      METHODS.map((method) => [method, result(evaluation.results[i]![method], prompt.startsWith('{}'))]),
    ),
  };
}

function tracing(subject: [number, number], tokens: string[]): Tracing {
  const layers = 8;
  const effect = (peak: number, height: number): number[][] =>
    tokens.map((_, t) =>
      Array.from({ length: layers }, (_, l) => {
        const near =
          t === subject[1] - 1
            ? Math.exp(-((l - peak) ** 2) / 4)
            : t === tokens.length - 1
              ? l / layers
              : 0.02;
        return t < subject[0] ? 0 : height * near + 0.02 * (random.uniform() - 0.5);
      }),
    );
  return {
    request: { prompt: 'The mother tongue of {} is', subject: 'Danielle Darrieux' },
    ...{
      tokens,
      subject,
      object: ' French',
      clean: 0.97,
      corrupted: 0.02,
      noise: 0.19,
      samples: 10,
      window: 2,
    },
    effects: { state: effect(1, 0.9), mlp: effect(2, 0.5), attention: effect(6, 0.3) },
  };
}

export function sampleStudy(): Study {
  const trace = tracing(
    [4, 8],
    ['The', ' mother', ' tongue', ' of', ' Daniel', 'le', ' Dar', 'rieux', ' is'],
  );
  const cases = evaluation.records.map((_, i) => single(i));
  const styles = (['completion', 'question'] as const).flatMap((style, s) =>
    cases.flatMap(({ methods }) =>
      METHODS.map((method) => {
        const size = methods[method]!.normalised_update * 10 ** (0.3 * s * (random.uniform() - 0.7));
        return { style, target: 'new' as const, method, normalised_update: size };
      }),
    ),
  );
  const downstream = (['sst2', 'mrpc', 'cola', 'rte'] as const).flatMap((task, t) => [
    { edit: 0, result: { task, f1: 40 + 5 * t, constant_f1: 100 / 3, invalid: 5 } },
    { method: 'rome' as const, edit: 100, result: { task, f1: 5, constant_f1: 100 / 3, invalid: 5 } },
    {
      method: 'r-rome' as const,
      edit: 100,
      result: { task, f1: 38 + 5 * t, constant_f1: 100 / 3, invalid: 5 },
    },
  ]);
  return {
    title: 'Rebuilding ROME on the reference’s numbers',
    about: [
      ['model', 'facts, 8 layers, 8.5 million parameters'],
      ['edit layer', '1'],
    ],
    command: 'npm run paper',
    evaluation: { cases, seed: 0 },
    sequences: [run('rome'), run('r-rome')],
    styles,
    downstream,
    trace,
    average: averageTracings([trace, tracing([0, 3], ['An', 'aal', ' Nathrakh', ' was', ' created', ' in'])]),
    sweep: [72, 95, 88, 60, 51].map((ES, layer) => ({
      layer,
      n: 8,
      ES,
      PS: ES - 8,
      NS: 70 + 2 * layer,
      score: ES - 10,
    })),
  };
}
