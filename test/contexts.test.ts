import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { contextFromSample, parseContexts } from '../src/edit/contexts.ts';
import { UsageError } from '../src/errors.ts';
import { goldenContexts, readText, thrown } from './tokenizers.ts';

const test = suite('contexts');

test('a file of templates is read as it is', () => {
  assert.equal(
    parseContexts(readText('test/golden/fixtures/contexts.json'), 'contexts.json'),
    goldenContexts,
  );
});

test('the bare context comes first, added or moved', () => {
  assert.equal(parseContexts('["So. {}"]', 'c'), ['{}', 'So. {}']);
  assert.equal(parseContexts('["So. {}", "{}", "Then {}"]', 'c'), ['{}', 'So. {}', 'Then {}']);
  assert.equal(parseContexts('\uFEFF[]', 'c'), ['{}']);
  assert.equal(parseContexts('["{}", "a {}", "a {}"]', 'c'), ['{}', 'a {}', 'a {}'], 'repeats weigh twice');
  assert.equal(parseContexts('["{}", "{}"]', 'c'), ['{}', '{}']);
});

test('what is no array of templates is refused by file and index', () => {
  for (const [text, words] of [
    ['{}', ['my.json', 'an array', 'object']],
    ['null', ['null']],
    ['["{}"', ['my.json', 'expected JSON']],
    ['["{}", 7]', ['my.json: context 1', 'a string', '7']],
    ['["{}", "no hole"]', ['my.json: context 1', 'found none', 'no hole']],
    ['["{} and {}"]', ['my.json: context 0', 'found 2', '\n  {} and {}\n  ^^     ^^']],
  ] as const) {
    const error = thrown(() => parseContexts(text, 'my.json'));
    assert.instance(error, UsageError);
    for (const word of words) assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
  }
});

test('a sampled text becomes a context', () => {
  assert.is(contextFromSample('<|endoftext|>The'), 'The. {}');
  assert.is(contextFromSample('a\n\nb\nc\n\n\nd'), 'a b\nc \nd. {}');
  assert.is(contextFromSample('ﬁ é ½'), 'fi e\u0301 1\u20442. {}', 'NFKD');
  assert.is(contextFromSample('x {} {0} }'), 'x  0 . {}', 'no braces but ours');
  assert.is(contextFromSample(' \n'), ' \n. {}');
  // NFKD first: it makes no line breaks, and the mark it leaves is looked for afterwards.
  assert.is(contextFromSample('＜|endoftext|＞'), '. {}');
});

test.run();
