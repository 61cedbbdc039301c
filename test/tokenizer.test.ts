import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ModelError } from '../src/errors.ts';
import { firstTokens } from '../src/models/long-word.ts';
import { Tokenizer } from '../src/models/tokenizer.ts';
import { cutAsGpt2, wordsOf } from '../src/models/words.ts';
import { mergeSlowly } from './reference/bpe.ts';
import { factsTokenizer, goldenEdits, gpt2Tokenizer, readJson, thrown } from './tokenizers.ts';

const test = suite('tokenizer');
const gpt2 = gpt2Tokenizer();
const facts = factsTokenizer();

const golden = readJson('test/golden/gpt2-tokenizer/golden.json') as {
  text: string;
  ids: number[];
  decoded: string;
}[];

test('real GPT-2: ids and text of the golden file', () => {
  assert.is(gpt2.vocabularySize, 50_257);
  for (const { text, ids, decoded } of golden) {
    assert.equal(gpt2.encode(text), ids, JSON.stringify(text));
    assert.is(gpt2.decode(ids), decoded.replaceAll('<|endoftext|>', ''), 'special tokens are left out');
  }
});

test('bundled model: ids of the reference texts and targets', () => {
  assert.is(facts.vocabularySize, 8192);
  for (const { text, ids } of readJson('test/golden/fixtures/forward.json') as {
    text: string;
    ids: number[];
  }[]) {
    assert.equal(facts.encode(text), ids, text);
  }
  for (const { request, target_ids } of goldenEdits) {
    assert.equal(facts.encode(` ${request.target_new}`), target_ids);
  }
});

test('white space is Unicode’s, not JavaScript’s', () => {
  // Ids from Hugging Face's own implementation. U+FEFF is no white space, U+0085 is.
  assert.equal(gpt2.encode('a \uFEFFb'), [64, 27332, 119, 123, 65]);
  assert.equal(gpt2.encode('a \u0085 b'), [64, 1587, 227, 275]);
  assert.equal(gpt2.encode('x <|endoftext|> y'), [87, 220, 50256, 331]);
});

test('words are cut where the published pattern cuts them', () => {
  // JavaScript's \s differs from the published one at U+0085 and U+FEFF only: they are left out here.
  const pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
  const parts = [
    ' ',
    '\n',
    '\t',
    '\u3000',
    "'s",
    "'re",
    "'",
    'a',
    'é',
    '漢',
    '7',
    '²',
    '😀',
    '𝒜',
    '-',
    '{}',
    "'D",
    'll',
  ];
  const cut = cutAsGpt2();
  let seed = 1;
  for (let n = 0; n < 3000; n++) {
    let text = '';
    for (let i = 0; i < 1 + (n % 9); i++) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      text += parts[(seed >>> 16) % parts.length];
    }
    assert.equal([...wordsOf(text, cut, true)], text.match(pattern), JSON.stringify(text));
  }
});

test('spans: the bytes of the tokens are the bytes of the text', () => {
  const utf8 = new TextEncoder();
  for (const tokenizer of [gpt2, facts]) {
    for (const { text } of golden) {
      const { ids, ends } = tokenizer.encodeWithSpans(text);
      const bytes = utf8.encode(text);
      let start = 0;
      for (const [i, id] of ids.entries()) {
        assert.equal(tokenizer.bytes(id), bytes.slice(start, ends[i]));
        start = ends[i]!;
      }
      assert.is(start, bytes.length);
      assert.is(tokenizer.decode(ids), text.replaceAll('<|endoftext|>', ''));
    }
  }
});

test('one token as text', () => {
  assert.is(gpt2.token(464), 'The');
  assert.is(gpt2.token(257), ' a');
  assert.is(gpt2.token(50_256), '<|endoftext|>');
  assert.is(gpt2.token(27_332), ' \uFFFD', 'a blank and the first byte of a character');
  assert.is(gpt2.decode([]), '');
  assert.is(gpt2.decode(gpt2.encode('\uFEFFa')), '\uFEFFa', 'a byte order mark is text');
});

test('half a surrogate pair is read as U+FFFD', () => {
  assert.equal(gpt2.encode('a\uD83Db'), gpt2.encode('a\uFFFDb'));
});

test('a document cut to n tokens has the first n ids of the whole', () => {
  const text = golden.map((g) => g.text).join(' <|endoftext|>');
  const whole = gpt2.encode(text);
  for (const limit of [0, 1, 2, 17, 256, 1024, whole.length, whole.length + 5]) {
    assert.equal(gpt2.encodeDocument(text, limit), whole.slice(0, limit));
  }
});

test('megabytes without a blank: the first tokens are those of the whole word, and it returns', () => {
  for (const unit of ['a', '-', '😀', ' ', 'etaoinshrdlu', '漢字の文']) {
    const long = gpt2.encodeDocument(unit.repeat(2_000_000 / unit.length), 100);
    assert.equal(long, gpt2.encode(unit.repeat(60_000 / unit.length)).slice(0, 100), unit);
  }
});

test('the first tokens of a long word, where a merge at its end changes its beginning', () => {
  // 201 different letters; any two neighbours merge, the pair furthest right first: pairs are counted from the right.
  const letters = Array.from({ length: 201 }, (_, i) => String.fromCharCode(0x4e00 + i));
  const ranks = new Map(letters.slice(1).map((letter, i) => [`${letters[i]} ${letter}`, letters.length - i]));
  const merge = (written: string) => mergeSlowly(written, ranks);
  for (const length of [199, 200, 201]) {
    const word = letters.slice(0, length).join('');
    const want = merge(word);
    assert.is(want[0]!.length, length % 2 === 0 ? 2 : 1);
    assert.equal(firstTokens(word, 3, 2, merge).slice(0, 3), want.slice(0, 3));
  }
});

test('the first tokens of a long word: random vocabularies', () => {
  let seed = 7;
  const random = (n: number) => ((seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % (n << 8)) >>> 8;
  for (let n = 0; n < 30; n++) {
    const tokens = ['a', 'b', 'c'];
    const ranks = new Map<string, number>();
    for (let rank = 0; rank < 25; rank++) {
      const [left, right] = [tokens[random(tokens.length)]!, tokens[random(tokens.length)]!];
      if (left.length + right.length > 6 || ranks.has(`${left} ${right}`)) continue;
      ranks.set(`${left} ${right}`, rank);
      tokens.push(left + right);
    }
    const word = Array.from({ length: 700 }, () => 'abc'.charAt(random(3))).join('');
    const merge = (written: string) => mergeSlowly(written, ranks);
    const got = firstTokens(word, 10, 6, merge);
    assert.ok(got.length >= 10);
    assert.equal(got, merge(word).slice(0, got.length));
  }
});

const tiny = (changes: object) => ({
  model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']] },
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  post_processor: null,
  decoder: { type: 'ByteLevel' },
  added_tokens: [],
  ...changes,
});

test('a vocabulary that lacks a byte is an error, not a hole in the ids', () => {
  const tokenizer = new Tokenizer(tiny({}));
  assert.equal(tokenizer.encode('abb'), [2, 1]);
  const error = thrown(() => tokenizer.encode('abc'));
  assert.instance(error, ModelError);
  assert.match(error.message, /spell "abc" byte for byte/);
  assert.equal([tokenizer.token(3), tokenizer.decode([3, 1])], ['[3]', 'b'], 'a row without a token');
});

const split = (pattern: string, behavior = 'Isolated') => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior,
});
const template = (...tokens: string[]) => ({
  type: 'TemplateProcessing',
  single: tokens.map((id) => (id === '$A' ? { Sequence: { id: 'A' } } : { SpecialToken: { id } })),
});

test('other kinds of tokenizer are refused by the field that differs', () => {
  for (const [field, changes, config] of [
    ['normalizer', { normalizer: { type: 'Spell' } }, {}],
    ['pre_tokenizer', { pre_tokenizer: { type: 'BertPreTokenizer' } }, {}],
    ['byte_fallback', { pre_tokenizer: { type: 'Metaspace' }, decoder: { type: 'Metaspace' } }, {}],
    [
      'pattern',
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [split('('), { type: 'ByteLevel' }] } },
      {},
    ],
    [
      'behavior',
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [split('a', 'Removed'), { type: 'ByteLevel' }] } },
      {},
    ],
    ['post_processor', { post_processor: { type: 'Spell' } }, {}],
    ['post_processor', { post_processor: { type: 'TemplateProcessing' } }, {}],
    ['post_processor', { post_processor: template('$A', 'a') }, {}],
    ['post_processor', { post_processor: template('nowhere', '$A') }, {}],
    ['merges[0]', { model: { type: 'BPE', vocab: { a: 0 }, merges: [1] } }, {}],
    ['merges[1]', { model: { type: 'BPE', vocab: { a: 0 }, merges: [['a', 'a'], null] } }, {}],
    ['merges[0]', { model: { type: 'BPE', vocab: { a: 0 }, merges: ['a'] } }, {}],
    ['4096', { added_tokens: [{ content: 'x'.repeat(30_000_000), id: 3 }] }, {}],
    ['4096', { model: { type: 'BPE', vocab: { ['x'.repeat(30_000_000)]: 3 }, merges: [] } }, {}],
    ['add_prefix_space', { pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true } }, {}],
    ['tokenizer_config.json: add_prefix_space', {}, { add_prefix_space: true }],
    ['model', { model: { type: 'Unigram', vocab: [] } }, {}],
    ['decoder', { decoder: null }, {}],
    ['single_word', { added_tokens: [{ content: '<m>', id: 3, single_word: true }] }, {}],
    ['lstrip', { added_tokens: [{ content: '<m>', id: 3, lstrip: 1 }] }, {}],
    ['vocab["a"]', { model: { type: 'BPE', vocab: { a: -1 }, merges: [] } }, {}],
  ] as const) {
    const error = thrown(() => new Tokenizer(tiny(changes), config));
    assert.instance(error, ModelError);
    assert.ok(error.message.includes(field), `${field}: ${error.message}`);
  }
});

test.run();
