import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../src/errors.ts';
import {
  checkLength,
  readBracketed,
  readRequest,
  targetText,
  type EditRequest,
} from '../src/edit/request.ts';
import { requestWarnings } from '../src/edit/warnings.ts';
import { fill, nest, readTemplate, sentence } from '../src/edit/template.ts';
import { thrown } from './tokenizers.ts';

const test = suite('request');

const parts = { prompt: 'The mother tongue of {} is', subject: 'Danielle Darrieux', target: 'English' };
const codes = (request: EditRequest) => requestWarnings(request).map((warning) => warning.code);

test('flags and brackets give the same request', () => {
  const want: EditRequest = { ...parts };
  assert.equal(readRequest(parts), want);
  assert.equal(readBracketed('The mother tongue of [Danielle Darrieux] is', 'English'), want);
  assert.equal(codes(want), []);
});

test('the target is joined by one blank, whether it brings one or not', () => {
  assert.is(targetText(readRequest(parts)), ' English');
  assert.is(targetText(readRequest({ ...parts, target: ' English' })), ' English');
  assert.is(readRequest({ ...parts, target: ' New York' }).target, 'New York');
});

test('odd prompts that are right', () => {
  assert.is(readRequest({ ...parts, prompt: '{}' }).prompt, '{}');
  assert.is(readBracketed('[X]', 'y').prompt, '{}');
  assert.is(readRequest({ ...parts, prompt: 'a } and { then {{}}' }).prompt, 'a } and { then {{}}');
});

test('every wrong input is a UsageError that says what came', () => {
  const cases: [run: () => unknown, words: string[]][] = [
    [() => readRequest({ ...parts, prompt: 'The {' }), ['prompt', 'one {}', 'found none', '"The {"']],
    [() => readRequest({ ...parts, prompt: '' }), ['prompt', 'found none']],
    [
      () => readRequest({ ...parts, prompt: 'The tongue of Danielle Darrieux is' }),
      ['found none', 'Write "The tongue of {} is"'],
    ],
    [
      () => readRequest({ ...parts, prompt: 'é {} of {} is' }),
      ['found 2', '\n  é {} of {} is\n    ^^    ^^'],
    ],
    [() => readRequest({ ...parts, subject: '' }), ['subject', 'an empty one']],
    [() => readRequest({ ...parts, subject: ' \t ' }), ['subject', 'only blanks']],
    [() => readRequest({ ...parts, subject: '😀 {x}' }), ['no braces', '\n  😀 {x}\n    ^ ^']],
    [() => readRequest({ ...parts, subject: 'x}' }), ['no braces, found 1', '\n  x}\n   ^']],
    [() => readRequest({ ...parts, subject: '😀😀é{' }), ['no braces', '\n  😀😀é{\n     ^']],
    [() => readRequest({ ...parts, subject: 'a\uD83D' }), ['subject', 'half a character', '\n   ^']],
    [() => readRequest({ ...parts, target: '' }), ['target', 'an empty one']],
    [() => readRequest({ ...parts, target: ' ' }), ['target', 'only blanks']],
    [
      () => readRequest({ ...parts, target: '   Lyon' }),
      ['one blank in front', 'found 3', '\n     Lyon\n  ^^^'],
    ],
    [() => readBracketed('No mark here', 'x'), ['[brackets]', 'found none', '"No mark here"']],
    [() => readBracketed('Of [A] and [B] is', 'x'), ['2 "["', '\n  Of [A] and [B] is\n     ^ ^     ^ ^']],
    [() => readBracketed('Of [A is', 'x'), ['1 "[" and 0 "]"']],
    [() => readBracketed('Of ]A[ is', 'x'), ['1 "[" and 1 "]"']],
    [() => readBracketed('Of [] is', 'x'), ['subject', 'found nothing', '\n  Of [] is\n     ^^']],
    [() => readBracketed('Of [ ] is', 'x'), ['subject', 'found nothing']],
    [() => readBracketed('Of [A] {} is', 'x'), ['found both', '\n  Of [A] {} is\n         ^^']],
    [() => readBracketed('Of [A{}B] is', 'x'), ['found both']],
    [() => checkLength('prompt', 257, { context: 256 }), ['prompt', 'at most 256', 'found 257']],
  ];
  for (const [run, words] of cases) {
    const error = thrown(run);
    assert.instance(error, UsageError);
    for (const word of words) assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
  }
  checkLength('prompt', 256, { context: 256 });
});

test('a long text is shown around the offending place', () => {
  const prompt = `${'x'.repeat(5000)} {} and {} ${'y'.repeat(5000)}`;
  const error = thrown(() => readRequest({ ...parts, prompt }));
  const [, line, carets] = error.message.split('\n');
  assert.ok(line!.length < 130);
  assert.is(line!.slice(carets!.indexOf('^'), carets!.length), '{} and {}');
  assert.is(carets!.indexOf('^'), 2 + 60, 'in the middle of what is shown');
  const early = thrown(() => readRequest({ ...parts, prompt: `a {} {} ${'y'.repeat(5000)}` }));
  assert.match(early.message, /\n {2}a \{\} \{\} y+\n {4}\^\^ \^\^$/);
});

test('warnings', () => {
  assert.equal(codes(readBracketed('[Apple A5] was created by', 'Google')), ['subject_first']);
  assert.equal(codes({ ...parts, subject: ' Danielle' }), ['subject_spaces']);
  assert.equal(codes({ ...parts, prompt: 'The tongue of {} is ' }), ['prompt_ends_blank']);
  assert.equal(codes({ ...parts, target: 'English ' }), ['target_spaces']);
});

test('templates are filled by position: nothing in subject, prompt or context is a pattern', () => {
  const read = (text: string) => readTemplate(text, 'prompt', '');
  assert.is(fill(read('a {} b'), "$& $1 $` $' {} {0}"), "a $& $1 $` $' {} {0} b");
  const nested = nest(read('x {. {}'), read('} the {} is'));
  assert.is(sentence({ prompt: 'a {} b', subject: '[$&{}]' }), 'a [$&{}] b');
  assert.is(
    thrown(() => sentence({ prompt: 'a b', subject: 'c' })).message.slice(0, 23),
    'prompt: expected one {}',
  );
  assert.is(fill(nested, 'Y'), 'x {. } the Y is');
  // Where context and prompt meet, "{" and "}" make no new hole.
  assert.is(fill(nest(read('x {{}'), read('} of {} is')), 'Y'), 'x {} of Y is');
});

test.run();
