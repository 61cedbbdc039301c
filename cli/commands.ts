/** All commands, in the order that --help lists them. */
import { apply } from './apply.ts';
import { bench } from './bench.ts';
import { causalTrace } from './causal-trace.ts';
import type { Command } from './command.ts';
import { covariance } from './covariance.ts';
import { doctor } from './doctor.ts';
import { edit } from './edit.ts';
import { evaluate } from './evaluate.ts';
import { explain } from './explain.ts';
import { exportModel } from './export.ts';
import { generate } from './generate.ts';
import { history } from './history.ts';
import { models } from './models.ts';
import { paper } from './paper.ts';
import { predict } from './predict.ts';
import { revert } from './revert.ts';
import { sequence } from './sequence.ts';

export const COMMANDS: readonly Command[] = [
  edit,
  predict,
  generate,
  apply,
  revert,
  history,
  exportModel,
  covariance,
  evaluate,
  sequence,
  causalTrace,
  explain,
  paper,
  bench,
  models,
  doctor,
];
