/** Flags of the downstream tasks, and from them to what a sequence runs now and then. */
import { readLabelled } from '../src/data/labelled.ts';
import type { Labelled } from '../src/data/labelled.ts';
import { UsageError } from '../src/errors.ts';
import { runTask } from '../src/lab/downstream.ts';
import { TASKS } from '../src/lab/downstream-tasks.ts';
import type { Orientation, TaskName } from '../src/lab/downstream-tasks.ts';
import type { SequenceOptions } from '../src/lab/sequence.ts';
import { readData } from './files.ts';
import { choice, number, text } from './flags.ts';

export const PER_CLASS = 100;
const COUNT = { integer: true, min: 0 } as const;

export interface DownstreamArguments {
  readonly downstreamEvery?: number | undefined;
  readonly downstreamTasks?: string | undefined;
  readonly perClass?: number | undefined;
  readonly rteLabels?: Orientation | undefined;
}

export const DOWNSTREAM_FLAGS = {
  'downstream-every': number(
    '--downstream-every',
    'edits between two runs of the downstream tasks [default: 0, none]',
    COUNT,
  ),
  'downstream-tasks': text('--downstream-tasks', `which, with commas between [default: ${TASKS.join()}]`),
  'per-class': number('--per-class', `examples of each class of a task [default: ${PER_CLASS}]`, {
    integer: true,
    min: 1,
  }),
  'rte-labels': choice(
    '--rte-labels',
    ['glue', 'published'],
    'published: entailed means False, as in the paper',
  ),
} as const;

export async function examplesFrom(args: DownstreamArguments): Promise<Map<TaskName, readonly Labelled[]>> {
  const examples = new Map<TaskName, readonly Labelled[]>();
  if (!args.downstreamEvery) return examples;
  for (const word of args.downstreamTasks?.split(',') ?? TASKS) {
    const task = TASKS.find((known) => known === word.trim());
    if (!task) throw new UsageError(`--downstream-tasks: expected ${TASKS.join(', ')}, found "${word}".`);
    const { text: content, name } = await readData('--downstream-tasks', undefined, `glue/${task}.json`);
    examples.set(task, readLabelled(content, name));
  }
  return examples;
}

export function downstreamFrom(
  args: DownstreamArguments,
  examples: ReadonlyMap<TaskName, readonly Labelled[]>,
  seed: number,
  signal: AbortSignal,
): SequenceOptions['downstream'] {
  if (!args.downstreamEvery) return undefined;
  const options = {
    perClass: args.perClass ?? PER_CLASS,
    orientation: args.rteLabels ?? 'glue',
    seed,
    signal,
  };
  return {
    every: args.downstreamEvery,
    run: async (model) => {
      const results = [];
      for (const [task, list] of examples) results.push(await runTask(model, task, list, options));
      return results;
    },
  };
}
