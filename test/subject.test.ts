import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { editRows, lookupSubject } from '../src/edit/rows.ts';
import { readRequest } from '../src/edit/request.ts';
import { fill, nest, readTemplate } from '../src/edit/template.ts';
import { readFacts } from '../src/data/read.ts';
import type { Tokenizer } from '../src/models/tokenizer.ts';
import { UsageError } from '../src/errors.ts';
import {
  factsTokenizer,
  goldenContexts,
  goldenEdits,
  gpt2Tokenizer,
  readText,
  thrown,
} from './tokenizers.ts';

const test = suite('subject');
const facts = factsTokenizer();
const gpt2 = gpt2Tokenizer();
const template = (text: string) => readTemplate(text, 'prompt', '');

/** The published rule: count the tokens of the prefix and of the word apart. Valid after a blank, or at the start. */
function publishedLookup(tokenizer: Tokenizer, before: string, subject: string): number {
  if (before === '') return tokenizer.encode(subject).length - 1;
  return tokenizer.encode(before.slice(0, -1)).length + tokenizer.encode(` ${subject.trim()}`).length - 1;
}

test('reference edits: lookup in every context', () => {
  for (const { request, lookups } of goldenEdits) {
    const found = goldenContexts.map(
      (context) =>
        lookupSubject(facts, nest(template(context), template(request.prompt)), request.subject).lookup,
    );
    assert.equal(found, lookups, request.subject);
  }
});

test('equals the published rule wherever that holds: data sets, contexts, both tokenizers', () => {
  for (const file of ['counterfact', 'zsre', 'easyedit']) {
    for (const { prompt, subject } of readFacts(readText(`test/golden/data/${file}.json`), file)) {
      for (const context of goldenContexts) {
        const nested = nest(template(context), template(prompt));
        assert.ok(nested.before === '' || nested.before.endsWith(' '));
        for (const tokenizer of [facts, gpt2]) {
          const { lookup } = lookupSubject(tokenizer, nested, subject);
          assert.is(lookup, publishedLookup(tokenizer, nested.before, subject), fill(nested, subject));
        }
      }
    }
  }
});

test('odd places: the token at the lookup holds the last letter of the subject', () => {
  const cases: [prompt: string, subject: string, token: string, straddled: boolean][] = [
    ['{} is', 'Paris', 'Paris', false],
    ['The city of {}', 'Paris', ' Paris', false],
    ["{}'s mayor", 'Paris', 'Paris', false],
    ['{}ish', 'Brit', 'British', true],
    ['The {}ian', 'Paris', ' Paris', false],
    ['The {}ish', 'Brit', ' British', true],
    ['“{}” is', 'Paris', 'Paris', false],
    ['"{}", he said', 'Paris', 'Paris', false],
    ['line\n{} is', 'Paris', 'Paris', false],
    ['two  {}  is', 'Paris', ' Paris', false],
    ['of {} is', 'Paris ', ' Paris', false],
    ['of {} is', '  Paris', ' Paris', false],
    ['of {} is', 'São Paulo', ' Paulo', false],
    ['in {}, they', 'Åland, F.C.', '.,', true],
    ['the {}', '<|endoftext|>', '<|endoftext|>', false],
    ['🇫🇷 {}', 'x', ' x', false],
  ];
  for (const [prompt, subject, token, straddled] of cases) {
    const found = lookupSubject(gpt2, template(prompt), subject);
    assert.is(gpt2.token(found.ids[found.lookup]!), token, `${prompt} with ${subject}`);
    assert.is(found.straddled, straddled, `${prompt} with ${subject}`);
    assert.equal(found.ids, gpt2.encode(fill(template(prompt), subject)));
  }
});

test('a subject that ends inside a multi-token character ends at its last byte', () => {
  const { ids, lookup } = lookupSubject(gpt2, template('see {}!'), '漢字𠮷');
  const before = ids.slice(0, lookup + 1);
  assert.is(gpt2.decode(before), 'see 漢字𠮷');
  assert.ok(gpt2.decode(before.slice(0, -1)).endsWith('\uFFFD'));
});

test('rows: text, target but its last id, and the positions that predict it', () => {
  for (const { request, target_ids, lookups } of goldenEdits) {
    const { prompt, subject, target_new: target } = request;
    const rows = editRows(facts, readRequest({ prompt, subject, target }), goldenContexts, { context: 256 });
    assert.equal(rows.targetIds, target_ids);
    for (const [j, row] of rows.rewrites.entries()) {
      const text = goldenContexts[j]!.split('{}').join(prompt).split('{}').join(subject);
      // As the published code builds it: decoded target, tokenised with the prompt; targets at the row's last n positions.
      assert.equal(row.ids, facts.encode(text + facts.decode(target_ids.slice(0, -1))), text);
      assert.is(row.promptLength, facts.encode(text).length);
      assert.is(row.lookup, lookups[j]);
      const n = target_ids.length;
      assert.equal(
        row.targets,
        target_ids.map((_, t) => row.ids.length - n + t),
      );
    }
    assert.equal(rows.klRow.ids, facts.encode(`${subject} is a`));
    assert.is(facts.decode(rows.klRow.ids.slice(0, rows.klRow.lookup + 1)), subject);
  }
});

const codesOf = (prompt: string, subject: string, target: string, tokenizer = gpt2) =>
  editRows(tokenizer, readRequest({ prompt, subject, target }), ['{}', 'So. {}'], {
    context: 1024,
  }).warnings.map((w) => w.code);

test('rows: warnings', () => {
  assert.equal(codesOf('The tongue of {} is', 'Zoë', 'English'), []);
  assert.equal(codesOf('{} speaks', 'Zoë', 'English'), ['subject_first']);
  assert.equal(codesOf('The {}ish', 'Brit', 'English'), ['subject_straddled']);
  assert.equal(codesOf('The tongue of {} is', 'Zoë', 'New York'), ['target_tokens']); // two
  assert.equal(codesOf('The tongue of {} is', 'Zoë', 'the Eiffel Tower'), ['target_tokens']);
  assert.equal(codesOf('The tongue of {} is', 'Zoë', '漢'), ['target_tokens', 'target_splits_character']);
  assert.equal(codesOf('The tongue of {} is', 'Zoë', 'a\n\nb'), ['target_tokens', 'retokenised']);
});

test('rows: target ids that change when decoded and tokenised again are flagged, and used as they are', () => {
  // Two line breaks before a letter are two tokens, at the end of a text they are one.
  const request = readRequest({ prompt: 'Of {}', subject: 'Zoë', target: 'a\n\nb' });
  const { rewrites, warnings, targetIds } = editRows(gpt2, request, ['{}', 'So. {}'], { context: 1024 });
  assert.match(warnings.find((w) => w.code === 'retokenised')!.message, /contexts 0, 1/);
  assert.equal(rewrites[0]!.ids, [...gpt2.encode('Of Zoë'), ...targetIds.slice(0, -1)]);
  // One context is enough, and so are other ids in the same number.
  const asMany = readRequest({ prompt: 'Of {}', subject: 'Zoë', target: 'a  \n\u00a0\u00a0b' });
  const row = editRows(gpt2, asMany, ['{}'], { context: 1024 });
  assert.is(
    gpt2.encode(`Of Zoë${gpt2.decode(row.targetIds.slice(0, -1))}`).length,
    row.rewrites[0]!.ids.length,
  );
  assert.match(row.warnings.find((w) => w.code === 'retokenised')!.message, /contexts 0\)/);
});

test('rows: a row longer than the window is refused, naming the context and the lengths', () => {
  const request = readRequest({ prompt: 'The tongue of {} is', subject: 'Zoë', target: 'English of old' });
  const length = gpt2.encode('The tongue of Zoë is').length;
  const given = gpt2.encode(' English of old').length - 1;
  assert.is(editRows(gpt2, request, ['{}'], { context: length + given }).rewrites.length, 1);
  const bare = thrown(() => editRows(gpt2, request, ['{}'], { context: length + given - 1 }));
  assert.instance(bare, UsageError);
  assert.match(
    bare.message,
    new RegExp(
      `the prompt \\(${length} tokens\\) and the target but its last token \\(${given}\\): .*at most ${length + given - 1} tokens.*found ${length + given}`,
    ),
  );
  const short = { ...request, target: 'English' };
  const alone = thrown(() => editRows(gpt2, short, ['{}'], { context: length - 1 }));
  assert.match(alone.message, new RegExp(`the prompt \\(${length} tokens\\): expected`));
  const other = thrown(() => editRows(gpt2, request, ['{}', 'A b c d. {}'], { context: length + given }));
  assert.match(other.message, /context 1 with the prompt/);
});

test.run();
