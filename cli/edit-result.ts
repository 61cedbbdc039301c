/** An edit as `--json` has it. Names and meanings are a contract: numbers are unrounded, vectors are in the dump file. */
import type { Edit, Update } from '../src/edit/edit.ts';
import type { Method } from '../src/edit/method.ts';
import type { Prediction } from '../src/models/predict.ts';
import { norm } from '../src/statistics.ts';

/** What the model says after the prompt. */
export interface Probe {
  readonly target_logprob: number;
  readonly next: Prediction['next'];
}

export function probeOf({ next, continuationLogprob }: Prediction): Probe {
  return { target_logprob: continuationLogprob, next };
}

export function editResult(
  edit: Edit,
  before: Probe,
  after: ReadonlyMap<Method, Probe>,
  files: {
    readonly covariance: string;
    readonly out?: string | undefined;
    readonly dump?: string | undefined;
  },
): object {
  const { request, trace, vectors, updates } = edit;
  const first = [...updates.values()][0];
  return {
    request: {
      prompt: request.prompt,
      subject: request.subject,
      target: request.target,
      target_ids: edit.rows.targetIds,
    },
    layer: edit.layer,
    contexts: edit.contexts,
    lookups: edit.rows.rewrites.map(({ lookup }) => lookup),
    warnings: edit.warnings,
    optimisation: {
      steps: trace.length,
      loss: trace.map(({ loss }) => loss),
      nll: trace.map(({ nll }) => nll),
      kl: trace.map(({ kl }) => kl),
      weight_decay: trace.map(({ decay }) => decay),
      probability: trace.map(({ probability }) => probability),
      delta_norm: norm(vectors.delta),
      v_init_norm: norm(vectors.v_prompt),
    },
    updates: Object.fromEntries(
      [...updates].map(([method, update]) => [method, { ...numbers(update), after: after.get(method) }]),
    ),
    before,
    solve: { ...first?.solved, covariance: files.covariance },
    ...(files.out === undefined ? {} : { out: files.out }),
    ...(files.dump === undefined ? {} : { dump: files.dump }),
  };
}

function numbers(update: Update): object {
  return {
    divisor: update.divisor,
    cosine: update.cosine,
    lambda_norm: update.lambdaNorm,
    update_norm: update.updateNorm,
    normalised_update: update.normalisedUpdate,
    relative_update: update.relativeUpdate,
    verdict: update.verdict,
  };
}
