/** The same fact in other words, and how the sizes of its edits are grouped. */
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bareFact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import { compareStyles, questionOf, variantsOf } from '../src/lab/styles.ts';
import { read } from '../src/tensor/tensor.ts';
import { goldenSolver } from './covariance.ts';
import { gpu } from './gpu.ts';
import { openFacts } from './model.ts';
import { goldenContexts as contexts } from './tokenizers.ts';

const test = suite('styles');
const fact = {
  ...bareFact({
    caseId: 3,
    source: 'counterfact',
    prompt: '{} was created by',
    subject: 'Apple A5',
    targetNew: 'Google',
  }),
  targetTrue: 'Apple',
};

test('questions follow the relation, hold one {} and end in ?; what is not told is left out', () => {
  assert.is(questionOf('The mother tongue of {} is'), 'What is the mother tongue of {}?');
  assert.is(questionOf('{} speaks the language'), 'What language does {} speak?');
  assert.is(questionOf('In {}, they understand'), 'What language is spoken in {}?');
  assert.is(questionOf('The law in {} declares the language'), 'What language is spoken in {}?');
  assert.is(questionOf('{} was created by'), 'Who is the maker of {}?');
  assert.is(questionOf('{} was created in'), 'Where was {} created?');
  assert.is(questionOf('{} died in the city of'), 'Where did {} die?');
  assert.is(questionOf('{}, the'), undefined);
  const file = new URL('../data/counterfact.json', import.meta.url);
  const facts = readFacts(readFileSync(file, 'utf8'), 'counterfact');
  const questions = facts.map(({ prompt }) => questionOf(prompt));
  const known = questions.filter((question) => question !== undefined);
  assert.ok(known.length > 0.8 * facts.length, `${known.length} of ${facts.length}`);
  for (const question of new Set(known)) assert.match(question, /^[^{}]*\{\}[^{}]*\?$/);
});

test('variants: both styles, both objects, a question stays one', () => {
  const list = variantsOf(fact).map(({ style, target, fact: { prompt, targetNew } }) => [
    style,
    target,
    prompt,
    targetNew,
  ]);
  assert.equal(list, [
    ['completion', 'new', '{} was created by', 'Google'],
    ['completion', 'true', '{} was created by', 'Apple'],
    ['question', 'new', 'Who is the maker of {}?', 'Google'],
    ['question', 'true', 'Who is the maker of {}?', 'Apple'],
  ]);
  const asked = { ...fact, prompt: 'Who made {}?', targetTrue: null };
  assert.equal(
    variantsOf(asked).map(({ style, target }) => [style, target]),
    [['question', 'new']],
  );
});

test('rows of real edits, without a change to the model', async () => {
  const model = await openFacts();
  const before = await read(gpu, model.editedWeight(1).tensor);
  const edit = { layer: 1, contexts: contexts.slice(0, 4), solver: await goldenSolver(), steps: 3 };
  const all = await compareStyles(model, [fact], { methods: ['rome', 'r-rome'], edit });
  const rows = all.filter(({ target }) => target === 'new');
  assert.equal(
    rows.map(({ style, method }) => `${style} ${method}`),
    ['completion rome', 'completion r-rome', 'question rome', 'question r-rome'],
  );
  assert.equal(
    rows.map(({ subject_first }) => subject_first),
    [true, true, false, false],
  );
  assert.ok(rows[0]!.cosine < rows[1]!.cosine, "with the subject first ROME's keys part");
  for (const row of rows) {
    assert.is(row.target_tokens, model.tokenizer.encode(' Google').length);
    assert.ok(row.probability > 0 && row.probability < 0.5 && row.update_norm > 0);
  }
  assert.equal(await read(gpu, model.editedWeight(1).tensor), before);
});

test.run();
