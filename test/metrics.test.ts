/** Metrics against values worked out by hand, or by NLTK 3.10 and scikit-learn 1.9 where said. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  consistency,
  entropyBits,
  fluency,
  inverseFrequencies,
  normalisedEntropy,
  sentenceWords,
  words,
} from '../src/lab/texts.ts';
import { averages, caseMetrics, prefers, summarise } from '../src/lab/metrics.ts';
import type { CaseMetrics, FactScores, Rivals, TokenScore } from '../src/lab/metrics.ts';
import { Random } from '../src/models/random.ts';
import {
  bootstrap,
  cosine,
  distance,
  harmonicMean,
  marginOfMean,
  matthews,
  quantile,
  weightedF1,
} from '../src/statistics.ts';

const test = suite('metrics');

const near = (got: number | undefined, want: number, what = ''): void =>
  assert.ok(got !== undefined && Math.abs(got - want) < 1e-12, `${what}: got ${got}, want ${want}`);

/** NLLs of one-token objects, and whether each comes first. */
function rivals(nllNew: number, nllTrue: number | null, first: 'new' | 'true' | 'none' = 'none'): Rivals {
  const score = (nll: number, hit: boolean) => ({ nll, predicted: [7], hits: hit ? 1 : 0 });
  return {
    new: score(nllNew, first === 'new'),
    true: nllTrue === null ? null : score(nllTrue, first === 'true'),
  };
}
const tokens = (hits: number, predicted: number[]): TokenScore => ({
  hits,
  predicted,
});

const SCORES: FactScores = {
  rewrite: rivals(0, Math.log(2), 'new'),
  paraphrase: [rivals(1, 2, 'new'), rivals(2, 1)],
  neighborhood: [rivals(2, 1, 'true'), rivals(1, 2), rivals(1, 1), rivals(5, 1)],
  tokens: { rewrite: tokens(1, [1, 2]), paraphrase: [tokens(0, [1]), tokens(3, [1, 2, 3])] },
  locality: tokens(1, [5, 6, 7, 8]),
};

test('one case: both families, each prompt alike, ties are no success', () => {
  const before: FactScores = { ...SCORES, locality: tokens(2, [5, 9, 7, 8]) };
  const got = caseMetrics(SCORES, before);
  const [e1, e2, e5] = [Math.exp(-1), Math.exp(-2), Math.exp(-5)];
  const want: Required<CaseMetrics> = {
    ES: 1,
    PS: 0.5,
    NS: 0.5, // one tie, one lost
    ES_diff: 0.5, // 1 − 1/2
    PS_diff: 0,
    NS_diff: (e1 - e2 + (e2 - e1) + 0 + (e1 - e5)) / 4,
    EM: 1,
    PM: 0.5,
    NM: 0.25,
    rewrite_acc: 0.5,
    paraphrase_acc: 0.5,
    locality_acc: 0.25,
    locality_agreement: 0.75,
  };
  assert.equal(Object.keys(got).sort(), Object.keys(want).sort());
  for (const [name, value] of Object.entries(want)) near(got[name as keyof CaseMetrics], value, name);
});

test('what a record does not give is absent, not 0', () => {
  const bare: FactScores = {
    ...SCORES,
    rewrite: rivals(1, null, 'new'),
    paraphrase: [],
    neighborhood: [],
    locality: null,
  };
  const got = caseMetrics({ ...bare, tokens: { rewrite: tokens(2, [1, 2]), paraphrase: [] } });
  assert.equal(got, { EM: 1, rewrite_acc: 1 });
  assert.equal(averages([got]), { EM: 100, rewrite_acc: 100 });
  assert.equal(summarise([], 0), { n: 0, interval: {} });
});

test('a tie is no success, for either object, nor is what has no rival', () => {
  assert.is(prefers(rivals(1, 1), 'new'), false);
  assert.is(prefers(rivals(1, 1), 'true'), false);
  assert.is(prefers(rivals(1, null), 'new'), false);
  assert.is(prefers(rivals(1, null), 'true'), false);
  assert.is(caseMetrics({ ...SCORES, rewrite: rivals(1, 1) }).ES, 0);
});

test('a destroyed model, whose likelihoods are NaN, succeeds in nothing', () => {
  assert.is(prefers(rivals(NaN, 1), 'new'), false);
  assert.is(prefers(rivals(1, NaN), 'true'), false);
  assert.is(prefers(rivals(1, NaN), 'new'), false);
});

test('an object of several tokens is matched only as a whole', () => {
  const half = { nll: 1, predicted: [1, 2], hits: 1 };
  const all = { nll: 1, predicted: [1, 2], hits: 2 };
  const scores = (one: typeof half): FactScores => ({ ...SCORES, rewrite: { new: one, true: all } });
  assert.is(caseMetrics(scores(half)).EM, 0);
  assert.is(caseMetrics(scores(all)).EM, 1);
});

test('a summary is the mean over cases of means within them; S is harmonic', () => {
  const cases: CaseMetrics[] = [
    { ES: 1, PS: 0.5, NS: 0.8, EM: 1 },
    { ES: 0, PS: 1, NS: 0.4, EM: 1 },
    { ES: 1, NS: 0.6, EM: 1 }, // no paraphrases
  ];
  const { n, interval, ...values } = summarise(cases, 1);
  assert.is(n, 3);
  near(values.ES, 200 / 3);
  near(values.PS, 75);
  near(values.NS, 60);
  near(values.S, 3 / (3 / 200 + 1 / 75 + 1 / 60));
  assert.equal(interval.EM, [100, 100]);
  assert.ok(interval.ES![0] < 67 && interval.ES![1] > 66);
  assert.equal(summarise(cases, 1), summarise(cases, 1), 'the same seed, the same interval');
  // The paper's own row: 99.92, 96.29, 75.8 give 89.32.
  near(Math.round(100 * harmonicMean([99.92, 96.29, 75.8])!) / 100, 89.32);
  assert.is(harmonicMean([1, 0, 1]), 0);
  for (const one of [1, 0]) assert.is(harmonicMean([one, undefined]), undefined);
});

test('the bootstrap of a proportion covers p ± 1.96 sqrt(p (1 − p) / n)', () => {
  const values = Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  const { p } = bootstrap(400, (drawn) => ({ p: drawn.reduce((sum, i) => sum + values[i]!, 0) / 400 }), {
    random: new Random(3),
  });
  const half = 1.96 * Math.sqrt((0.25 * 0.75) / 400);
  assert.ok(Math.abs(p![0] - (0.25 - half)) < 0.01 && Math.abs(p![1] - (0.25 + half)) < 0.01, String(p));
  near(quantile([1, 2, 4], 0.5), 2);
  near(quantile([1, 2, 4], 0.75), 3);
});

test('both tails of an interval lie where its confidence says', () => {
  // The statistic of draw i is i, whatever was drawn: 0 to 1,000, whose quantiles are known.
  const interval = (confidence?: number) => {
    let i = -1;
    const random = { uniform: () => 0 };
    const options = { random, samples: 1001, ...(confidence === undefined ? {} : { confidence }) };
    return bootstrap(3, () => ({ i: (i += 1), none: undefined }), options);
  };
  const { i, none } = interval() as Record<string, [number, number] | undefined>;
  near(i![0], 25);
  near(i![1], 975);
  assert.is(none, undefined);
  near(interval(0.8).i![0], 100);
  near(interval(0.8).i![1], 900);
  // By default 1,000 draws of as many records as there are.
  let draws = 0;
  const each = (drawn: readonly number[]) => {
    draws += 1;
    return { n: drawn.length };
  };
  assert.equal(bootstrap(7, each, { random: new Random(0) }), { n: [7, 7] });
  assert.is(draws, 1000);
  assert.throws(() => bootstrap(0, () => ({}), { random: new Random(0) }), /no records/);
});

test("the margin of a mean follows Student's t", () => {
  // t at 97.5 % for n − 1 degrees of freedom (tables of the t distribution); what the expansion leaves out falls with n⁴.
  for (const [n, t, bound] of [
    [3, 4.302653, 0.035],
    [4, 3.182446, 0.01],
    [5, 2.776445, 0.003],
    [10, 2.262157, 2e-4],
    [30, 2.04523, 3e-6],
  ] as const) {
    const values = Array.from({ length: n }, (_, i) => 1 + i);
    const centre = (n + 1) / 2;
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - centre) ** 2, 0) / (n - 1));
    const want = (t * deviation) / Math.sqrt(n);
    const got = marginOfMean(values);
    assert.ok(Math.abs(got / want - 1) < bound, `n ${n}: ${got}, want ${want}`);
  }
  assert.ok(Number.isNaN(marginOfMean([1, 2])), 'two values do not tell their spread');
});

test('distance and cosine', () => {
  near(distance([1, 2], [4, -2]), 5);
  near(cosine([1, 0], [1, 1]), Math.SQRT1_2);
});

test('weighted F1 and Matthews, invalid answers a class of their own: as scikit-learn', () => {
  const truth = [0, 0, 0, 1, 1, 1, 1, 2];
  const answers = [0, 1, -1, 1, 1, 0, -1, 2];
  near(weightedF1(truth, answers), 0.5607142857142857);
  near(matthews(truth, answers), 0.3109371676027109);
  near(weightedF1(truth, truth), 1);
  near(matthews(truth, truth), 1);
  // A constant answer on two balanced classes: F1 1/3, the figure that the paper's MRPC curve shows.
  near(weightedF1([0, 0, 1, 1], [1, 1, 1, 1]), 1 / 3);
  assert.is(matthews([0, 0, 1, 1], [1, 1, 1, 1]), 0);
});

/** NLTK 3.10, word_tokenize(…, preserve_line=True), with `` and '' written " again. */
const TREEBANK: [string, string][] = [
  ["They'll save and invest more.", "They 'll save and invest more ."],
  ['He said, "don\'t!"', 'He said , " do n\'t ! "'],
  [
    "I can't 'quote' this, y'all; it's the dogs' 3,5 and 1:30 -- really...",
    "I ca n't ' quote ' this , y'all ; it 's the dogs ' 3,5 and 1:30 -- really ...",
  ],
  ['The price (of [joy]) — $5.00 & 10%?', 'The price ( of [ joy ] ) — $ 5.00 & 10 % ?'],
  ["Mr. Jones' cannot wanna go.", "Mr. Jones ' can not wan na go ."],
  ["He'd've gone to the U.S.", "He'd 've gone to the U.S ."],
  ["O'Brien's rock 'n' roll, 'em 'Twas I'm", "O'Brien 's rock 'n ' roll , ' em ' Twas I 'm"],
];

test("words of a sentence are the Treebank's", () => {
  for (const [sentence, want] of TREEBANK) assert.equal(sentenceWords(sentence), want.split(' '), sentence);
  assert.equal(words('It ends. It starts again.'), 'It ends . It starts again .'.split(' '));
  assert.equal(
    words('Mr. Jones sleeps.'),
    'Mr . Jones sleeps .'.split(' '),
    'where Unicode ends a sentence and Punkt does not',
  );
  assert.equal(words(''), []);
});

test('fluency: entropies of 2- and 3-grams', () => {
  near(entropyBits(['a', 'b', 'a', 'b']), 1);
  near(entropyBits(['a', 'a', 'b', 'c']), 1.5);
  assert.is(entropyBits([]), 0);
  // numpy over NLTK's n-grams
  near(fluency(['the cat sat on the cat sat on the mat.']), 2.5094815881462176);
  near(fluency(['the cat sat on the cat sat on the mat.', 'a a a a a']), 2.5094815881462176 / 2);
  // Different 2-grams must not run together: "a b" "c" and "a" "b c".
  near(fluency(['ab c a bc']), ((2 / 3) * Math.log2(3) + (4 / 3) * 1) / 2);
  assert.is(fluency([]), undefined);
});

test('normalised entropy lies in 0..1 and is 0 for one word', () => {
  near(normalisedEntropy(['One two.', 'three FOUR']), 1);
  near(normalisedEntropy(['a a a b']), -(0.75 * Math.log2(0.75) + 0.25 * Math.log2(0.25)));
  assert.is(normalisedEntropy(['the the the']), 0);
  assert.is(normalisedEntropy([]), undefined);
});

test('consistency: the TF-IDF cosine, as scikit-learn', () => {
  const idf = inverseFrequencies(['The cat sat on the mat.', 'A dog sat in a fog', 'Cats and dogs: the end']);
  near(idf.get('cat'), 1.6931471805599454);
  near(idf.get('the'), 1.2876820724517808);
  const got = consistency(['the cat and the dog', 'sat here a b'], ['the dog in the fog'], idf);
  assert.ok(Math.abs(got! - 0.59220789) < 1e-8, String(got));
  assert.is(consistency(['mat'], ['fog'], idf), 0);
  assert.is(consistency([], ['fog'], idf), undefined);
});

test.run();
