/** Downstream tasks: prompts, answers, scores; a constant model scores what a constant answer scores. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readLabelled } from '../src/data/labelled.ts';
import { UsageError } from '../src/errors.ts';
import { runTask, scoreAnswers } from '../src/lab/downstream.ts';
import { TASKS, parseAnswer, promptOf, taskOf } from '../src/lab/downstream-tasks.ts';
import type { TaskName } from '../src/lab/downstream-tasks.ts';
import { throws } from './folder.ts';
import { gpu } from './gpu.ts';
import { openFacts } from './model.ts';

const test = suite('downstream');
const glue = (name: TaskName) =>
  readLabelled(readFileSync(new URL(`../data/glue/${name}.json`, import.meta.url), 'utf8'), name);

test('prompts follow the skeletons, shown examples with their answers', () => {
  const cola = taskOf('cola');
  assert.is(
    promptOf(cola, [' A sentence. '], 1),
    'Is this sentence linguistically acceptable?\nSentence : The children have eaten all the bread.\nAnswer : Yes\n\n' +
      'Is this sentence linguistically acceptable?\nSentence : A sentence.\nAnswer :',
  );
  assert.is(promptOf(taskOf('sst2'), ['fine'], 0), 'Review : fine\nSentiment :');
  assert.is(promptOf(taskOf('rte'), ['A.', 'B.'], 0), 'A.\nquestion: B. True or False?\nanswer:');
  assert.is(promptOf(taskOf('nli'), ['A.', 'B.'], 0), 'A. entails the B. True or False? Answer:');
  assert.match(
    promptOf(taskOf('mrpc'), ['A', 'B'], 6),
    /^Are the sentences paraphrases of each other\.\nSentence 1: .*\nSentence 2: .*\nAnswer: Yes\n\n/,
  );
  for (const name of TASKS) {
    const { shots, answers } = taskOf(name);
    assert.is(shots.length, { sst2: 4, mrpc: 6, cola: 6, rte: 3, nli: 4 }[name]);
    assert.equal([...new Set(shots.map(({ label }) => label))].sort(), [0, 1], 'both classes are shown');
    assert.is(answers.length, 2);
  }
});

test('an entailed sentence is True; the published orientation turns RTE round, shown examples too', () => {
  const [ours, theirs] = [taskOf('rte'), taskOf('rte', 'published')];
  assert.is(parseAnswer(ours, ' True'), 0);
  assert.is(parseAnswer(theirs, ' True'), 1);
  assert.match(promptOf(ours, ['a', 'b'], 1), /answer: True/);
  assert.match(promptOf(theirs, ['a', 'b'], 1), /answer: False/);
  assert.equal(taskOf('nli', 'published'), taskOf('nli'));
});

test('answers: the first word that is one, whole words, any case; else invalid', () => {
  const sst2 = taskOf('sst2');
  assert.is(parseAnswer(sst2, ' Positive.'), 1);
  assert.is(parseAnswer(sst2, ' negative, positive'), 0);
  assert.is(parseAnswer(sst2, ' neutral'), -1);
  const mrpc = taskOf('mrpc');
  assert.is(parseAnswer(mrpc, ' not known'), -1, '"no" within a word is no answer');
  assert.is(parseAnswer(mrpc, '\nYes No'), 1);
  assert.is(parseAnswer(mrpc, ''), -1);
});

test('scores: a constant answer, invalid ones, and a perfect run', () => {
  const task = taskOf('mrpc');
  const truth = [0, 0, 1, 1];
  const constant = scoreAnswers(task, truth, [1, 1, 1, 1]);
  assert.ok(Math.abs(constant.f1 - 100 / 3) < 1e-9 && constant.f1 === constant.constant_f1);
  assert.is(constant.mcc, 0);
  assert.equal(scoreAnswers(task, truth, truth), {
    n: 4,
    f1: 100,
    mcc: 1,
    accuracy: 100,
    invalid: 0,
    constant_f1: 100 * (1 / 3),
  });
  const silent = scoreAnswers(task, truth, [-1, -1, -1, -1]);
  assert.is(silent.f1, 0);
  assert.is(silent.invalid, 100);
});

test('records are checked', async () => {
  assert.equal(readLabelled('[{"sentence1":"a","sentence2":"b","label":"not_entailment"}]', 'x'), [
    { texts: ['a', 'b'], label: 1 },
  ]);
  await throws(
    () => readLabelled('[{"sentence":"a","label":"maybe"}]', 'f.json'),
    UsageError,
    'f.json: record 0',
    'label',
    'maybe',
  );
  await throws(() => readLabelled('[{"sentence1":"a","label":0}]', 'f.json'), UsageError, 'sentence2');
  await throws(() => readLabelled('{}', 'f.json'), UsageError, 'an array');
  for (const name of TASKS) assert.ok(glue(name).filter(({ label }) => label === 0).length >= 100, name);
});

test('a task on the model: seeded, within the context window, and it says how many examples fitted', async () => {
  const model = await openFacts();
  const live = gpu.liveBytes;
  for (const name of ['cola', 'rte'] as const) {
    const options = { perClass: 3, seed: 1 };
    const result = await runTask(model, name, glue(name), options);
    assert.equal(await runTask(model, name, glue(name), options), result);
    assert.is(result.n, 6);
    assert.ok(result.shots.mean <= result.shots.wanted && result.shots.least >= 0);
    assert.ok(result.choice.f1 >= 0 && result.choice.f1 <= 100 && Math.abs(result.choice.mcc) <= 1);
    assert.ok(result.f1 >= 0 && result.f1 <= 100 && Math.abs(result.constant_f1 - 100 / 3) < 1e-9);
  }
  assert.is(gpu.liveBytes, live);
  const long = [
    { texts: ['word '.repeat(500), 'short'], label: 0 },
    { texts: ['a', 'b'], label: 1 },
  ];
  const { shots, cut } = await runTask(model, 'rte', long);
  assert.equal([shots, cut], [{ wanted: 3, mean: 1.5, least: 0 }, 1]);
  await throws(() => runTask(model, 'rte', long.slice(0, 1)), UsageError, 'class 1');
});

test.run();
