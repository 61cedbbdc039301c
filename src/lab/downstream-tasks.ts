/**
 * The downstream tasks: how an example is asked, the examples shown before it, and the words that count as answers.
 *
 * The skeletons are those of "Rebuilding ROME"; the shown examples are our own, as many as published, and their labels
 * are GLUE's: 0 is entailment in RTE and NLI, so an entailed sentence is answered with True. (The published prompts had
 * it the other way round, in the examples and in the scoring; `published` gives that orientation.)
 */
import type { Labelled } from '../data/labelled.ts';

export const TASKS = ['sst2', 'mrpc', 'cola', 'rte', 'nli'] as const;
export type TaskName = (typeof TASKS)[number];

export interface Task {
  readonly title: string;
  /** The example as a question that ends where the answer begins. */
  readonly ask: (texts: readonly string[]) => string;
  /** The word of each class. */
  readonly answers: readonly string[];
  readonly shots: readonly Labelled[];
}

const shot = (label: number, ...texts: string[]): Labelled => ({ texts, label });

const ENTAILMENT: readonly string[] = ['True', 'False'];
const PARAPHRASE: readonly string[] = ['No', 'Yes'];

const ALL: Readonly<Record<TaskName, Task>> = {
  sst2: {
    title: 'SST-2',
    ask: ([text = '']) => `Review : ${text}\nSentiment :`,
    answers: ['negative', 'positive'],
    shots: [
      shot(1, 'a warm and clever film that earns every laugh'),
      shot(0, 'two long hours without a single idea'),
      shot(0, 'the cast seems as bored as we are'),
      shot(1, 'beautifully shot and quietly moving'),
    ],
  },
  mrpc: {
    title: 'MRPC',
    ask: ([first = '', second = '']) =>
      `Are the sentences paraphrases of each other.\nSentence 1: ${first}\nSentence 2: ${second}\nAnswer:`,
    answers: PARAPHRASE,
    shots: [
      shot(1, 'The shop opened its doors on Monday .', 'On Monday the shop opened .'),
      shot(0, 'Shares rose by two percent .', 'The company named a new director .'),
      shot(1, 'He was born in a small village .', 'A small village was his birthplace .'),
      shot(0, 'The storm closed two airports .', 'The storm was the first of the year .'),
      shot(1, 'The talks ended without a deal .', 'No deal was reached in the talks .'),
      shot(0, 'Sales fell in the spring .', 'Sales had grown for ten years .'),
    ],
  },
  cola: {
    title: 'CoLA',
    ask: ([text = '']) => `Is this sentence linguistically acceptable?\nSentence : ${text}\nAnswer :`,
    answers: PARAPHRASE,
    shots: [
      shot(1, 'The children have eaten all the bread.'),
      shot(0, 'The children has eat bread the all.'),
      shot(0, 'Who did you say that called?'),
      shot(1, 'She wondered what he would do next.'),
      shot(0, 'The book was read it by Mary.'),
      shot(1, 'Nobody knows where the key is.'),
    ],
  },
  rte: {
    title: 'RTE',
    ask: ([first = '', second = '']) => `${first}\nquestion: ${second} True or False?\nanswer:`,
    answers: ENTAILMENT,
    shots: [
      shot(0, 'The museum, built in 1902, lies on the river.', 'The museum was built in 1902.'),
      shot(1, 'The minister met farmers in the north.', 'The minister is a farmer.'),
      shot(0, 'Anna sold her car to a neighbour last week.', 'A neighbour bought the car of Anna.'),
    ],
  },
  nli: {
    title: 'NLI',
    ask: ([first = '', second = '']) => `${first} entails the ${second} True or False? Answer:`,
    answers: ENTAILMENT,
    shots: [
      shot(0, 'The bridge was closed after the flood.', 'Nobody could cross the bridge.'),
      shot(1, 'Two bands played in the hall.', 'The hall was empty.'),
      shot(0, 'He has taught physics for ten years.', 'He is a teacher.'),
      shot(1, 'The train to Lyon was late.', 'The train to Lyon was early.'),
    ],
  },
};

/** `published`: entailed means False, in RTE. */
export type Orientation = 'glue' | 'published';

export function taskOf(name: TaskName, orientation: Orientation = 'glue'): Task {
  const task = ALL[name];
  if (orientation === 'glue' || name !== 'rte') return task;
  return { ...task, answers: task.answers.toReversed() };
}

/** The question, after the first `shots` examples with their answers. */
export function promptOf(task: Task, texts: readonly string[], shots: number): string {
  const shown = task.shots
    .slice(0, shots)
    .map((shot) => `${task.ask(shot.texts.map((text) => text.trim()))} ${task.answers[shot.label]}`);
  return [...shown, task.ask(texts.map((text) => text.trim()))].join('\n\n');
}

/** The class that an answer names first, in words of any case; -1 where it names none. */
export function parseAnswer(task: Task, answer: string): number {
  const found = task.answers
    .map((word, label) => ({ label, at: answer.search(new RegExp(`\\b${word}\\b`, 'i')) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at);
  return found[0]?.label ?? -1;
}
