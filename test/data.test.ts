import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fact } from '../src/data/fact.ts';
import { readFacts } from '../src/data/read.ts';
import { UsageError } from '../src/errors.ts';
import { readText, thrown } from './tokenizers.ts';

const test = suite('data');
const file = (name: string) => readText(`test/golden/data/${name}.json`);

interface CounterFact {
  case_id: number;
  requested_rewrite: Record<'prompt' | 'subject', string> &
    Record<'target_new' | 'target_true', { str: string; id?: string }> & {
      relation_id?: string;
    };
  paraphrase_prompts: string[];
  neighborhood_prompts: string[];
}

test('CounterFact', () => {
  const records = JSON.parse(file('counterfact')) as CounterFact[];
  const facts = readFacts(file('counterfact'), 'counterfact.json');
  assert.is(facts.length, records.length);
  for (const [i, { case_id, requested_rewrite: r, ...rest }] of records.entries()) {
    const fact = facts[i]!;
    assert.equal(
      [fact.caseId, fact.prompt, fact.subject, fact.targetNew, fact.targetTrue, fact.source],
      [case_id, r.prompt, r.subject, r.target_new.str, r.target_true.str, 'counterfact'],
    );
    assert.equal(fact.paraphrases, rest.paraphrase_prompts);
    assert.equal(fact.neighbours, rest.neighborhood_prompts);
    assert.is(fact.locality, null);
  }
  records[0]!.requested_rewrite.relation_id = 'P103';
  records[0]!.requested_rewrite.target_new = { str: ' English', id: 'Q1860' };
  const [first] = readFacts(JSON.stringify(records), 'c');
  assert.equal([first!.relationId, first!.targetNewId, first!.targetNew], ['P103', 'Q1860', 'English']);
});

test('zsRE: first answer, the question mark, the subject out of the question', () => {
  const records = JSON.parse(file('zsre')) as {
    src: string;
    subject: string;
    answers: string[];
    loc: string;
  }[];
  const facts = readFacts(file('zsre'), 'zsre.json');
  for (const [i, fact] of facts.entries()) {
    const { src, subject, answers, loc } = records[i]!;
    assert.is(
      fact.prompt.replace('{}', () => subject),
      src,
    );
    assert.equal([fact.caseId, fact.targetNew, fact.targetTrue], [i, answers[0], null]);
    assert.is(fact.locality!.prompt, `${loc}?`);
    assert.is(fact.paraphrases.length, 1);
  }
});

test('EasyEdit’s flat records: a neighbour only when its answer is the true object', () => {
  const facts = readFacts(file('easyedit'), 'easyedit.json');
  const originals = new Map(readFacts(file('counterfact'), 'c').map((fact) => [fact.caseId, fact]));
  let same = 0;
  for (const fact of facts) {
    const original = originals.get(fact.caseId);
    if (original === undefined) continue;
    same += 1;
    assert.equal(
      [fact.prompt, fact.subject, fact.targetNew],
      [original.prompt, original.subject, original.targetNew],
    );
    assert.equal(fact.neighbours, original.neighbours.slice(0, 1));
  }
  assert.ok(same > 3);
  const record = (JSON.parse(file('easyedit')) as object[])[0]!;
  const [other] = readFacts(JSON.stringify([{ ...record, locality_ground_truth: 'Breton' }]), 'e');
  assert.equal(other!.neighbours, []);
  assert.is(other!.locality!.answer, 'Breton');
});

test('requests to ROME’s own code: {} in the prompt, objects as {str}', () => {
  const request = { prompt: '{} plays', subject: 'LeBron James', target_new: { str: ' football' } };
  const [fact, known] = readFacts(
    JSON.stringify([request, { ...request, target_true: { str: 'basketball' } }]),
    'r',
  );
  assert.equal([fact!.prompt, fact!.targetNew, fact!.targetTrue], ['{} plays', 'football', null]);
  assert.is(known!.targetTrue, 'basketball');
});

test('FastEdit’s records and plain lines', () => {
  const [fast] = readFacts(
    '[{"prompt": "{} is in", "subject": "Lyon", "target": "Peru", "queries": ["Where is Lyon?"]}]',
    'f',
  );
  assert.equal(
    [fast!.source, fast!.prompt, fast!.targetNew, fast!.paraphrases],
    ['fastedit', '{} is in', 'Peru', ['Where is Lyon?']],
  );
  const plain = readFacts(
    '# geography\r\n\r\n"The capital of [France] is" => "Lyon"\n "[\\"X\\"] is"=>" y" ',
    'p.txt',
  );
  assert.equal(
    plain.map((fact) => [fact.caseId, fact.prompt, fact.subject, fact.targetNew]),
    [
      [0, 'The capital of {} is', 'France', 'Lyon'],
      [1, '{} is', '"X"', 'y'],
    ],
  );
});

test('CSV: header, quotes, line breaks, other names of columns', () => {
  const read = (text: string, name = 'facts.csv') =>
    readFacts(text, name).map((fact) => [fact.prompt, fact.subject, fact.targetNew, fact.targetTrue]);
  const want = [
    ['The capital of {} is', 'France', 'Lyon', 'Paris'],
    ['{}, the city, is "in"', 'Rome', 'Peru', null],
  ];
  const quoted = '"{}, the city, is ""in"""';
  assert.equal(
    read(`prompt,subject,target,true\nThe capital of {} is,France,Lyon,Paris\n${quoted},Rome,Peru,\n`),
    want,
  );
  // Known by its header, whatever its name: columns in another order, semicolons, the subject written out.
  const other = [
    '\uFEFFSubject; target_new ;Prompt;Ground Truth;notes',
    '# a remark',
    '',
    'France;Lyon;The capital of France is;Paris;x',
    `Rome;Peru;${quoted.replace('{}', 'Rome')};;`,
  ];
  assert.equal(read(other.join('\r\n'), 'facts.txt'), want);
  assert.equal(read('prompt\ttarget\n[Ann, Lee] lives in\tOslo'), [
    ['{} lives in', 'Ann, Lee', 'Oslo', null],
  ]);
  const [more] = readFacts(
    'id,prompt,subject,target,true,paraphrase 1,paraphrase 2,neighbour\n7,{} is,A,b,c,A was,,D is\n',
    'x.csv',
  );
  assert.equal(
    [more!.caseId, more!.source, more!.paraphrases, more!.neighbours],
    [7, 'csv', ['A was'], ['D is']],
  );
});

test('CSV that cannot be read is refused by line and column', () => {
  for (const [text, words] of [
    ['', ['a header', 'empty file']],
    ['prompt,target\n', ['at least one record']],
    ['a,b\n1,2', ['line 1', 'a column prompt', 'a, b']],
    ['prompt,subject\n1,2', ['line 1', 'a column target']],
    ['prompt,target,new\n', ['line 1', 'one column target', 'target and new']],
    ['prompt,subject,target\n{} is,A,b\n{}, is,A,b', ['line 3', '3 cells', 'found 4', 'double quotes']],
    ['prompt,subject,target\n"{}\nis",A,b\n"\n{} is",A,\n', ['line 4', 'column target', 'a string']],
    ['prompt,subject,Target\n{} is,A,b\n\nIs it,A,b', ['line 4', 'column prompt', 'the subject "A"']],
    ['prompt,subject,target\n{} {} is,A,b', ['line 2', 'column prompt', 'one {}', '2 in']],
    ['prompt,subject,target\n{} is,A{},b', ['line 2', 'column subject', 'no braces']],
    ['prompt,target\n{} is,b', ['line 2', 'column prompt', 'one [subject]']],
    ['prompt,subject,target\n{} is,A,b\n{} is,A,"b', ['line 3', 'Quote Not Closed']],
    ['prompt,subject,target\n{} "is,A,b', ['line 2', 'column 1', 'Quote']],
  ] as const) {
    const error = thrown(() => readFacts(text, 'facts.csv'));
    assert.instance(error, UsageError, text);
    for (const word of ['facts.csv', ...words])
      assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
  }
});

test('JSONL, with a byte order mark and empty lines, is the same as an array', () => {
  for (const name of ['counterfact', 'zsre', 'easyedit']) {
    const lines = (JSON.parse(file(name)) as object[]).map((record) => JSON.stringify(record));
    const [jsonl, array] = [`\uFEFF${lines.join('\r\n\n')}\n`, file(name)].map((text) =>
      readFacts(text, 'x'),
    );
    const facts = (list: Fact[]) => list.map(({ where: _, ...fact }) => fact);
    assert.equal(facts(jsonl!), facts(array!));
    assert.is(array!.at(-1)!.where, `x: record ${array!.length - 1}`);
    assert.is(jsonl!.at(-1)!.where, `x: line ${2 * array!.length - 1}, record ${array!.length - 1}`);
  }
});

test('the subject is found as a word; a second mention stays text', () => {
  const read = (src: string, subject: string) =>
    readFacts(
      JSON.stringify([{ src, subject, answers: ['x'], rephrase: 'r', loc: 'nq question: q', loc_ans: 'a' }]),
      'z',
    )[0]!;
  assert.is(read('What is the A of A?', 'A').prompt, 'What is the {} of A?');
  assert.is(read('Iga met Ig?', 'Ig').prompt, 'Iga met {}?');
  assert.is(read('WIg met Ig?', 'Ig').prompt, 'WIg met {}?');
  assert.is(read('Parisian?', 'Paris').prompt, '{}ian?');
  assert.is(read("Who is $& Co's owner?", '$& Co').prompt, "Who is {}'s owner?");
});

/** A copy of a record with one field, by its path, replaced; undefined removes it. */
function changed(record: object, path: string, value: unknown): object {
  const [head, ...rest] = path.split('.');
  const fields = Object.fromEntries(Object.entries(record));
  fields[head!] = rest.length === 0 ? value : changed(fields[head!] as object, rest.join('.'), value);
  return fields;
}

test('a broken record is refused by file, record, line and field', () => {
  const cases: [name: string, path: string, value: unknown, words: string[]][] = [
    ['counterfact', 'case_id', 'a', ['case_id', 'a whole number', '"a"']],
    ['counterfact', 'requested_rewrite', 3, ['requested_rewrite', 'an object', '3']],
    [
      'counterfact',
      'requested_rewrite.prompt',
      'no hole',
      ['requested_rewrite.prompt', 'one {}', '0 in "no hole"'],
    ],
    ['counterfact', 'requested_rewrite.prompt', '{} and {}', ['requested_rewrite.prompt', '2 in']],
    ['counterfact', 'requested_rewrite.subject', '', ['requested_rewrite.subject', 'some text']],
    ['counterfact', 'requested_rewrite.subject', 'a{b', ['requested_rewrite.subject', 'no braces']],
    [
      'counterfact',
      'requested_rewrite.subject',
      'a\uD83D',
      ['requested_rewrite.subject', 'half a character'],
    ],
    [
      'counterfact',
      'requested_rewrite.target_new.str',
      undefined,
      ['requested_rewrite.target_new.str', 'found nothing'],
    ],
    ['counterfact', 'requested_rewrite.target_new.str', '  x', ['at most one blank']],
    ['counterfact', 'requested_rewrite.target_true', null, ['requested_rewrite.target_true', 'null']],
    ['counterfact', 'neighborhood_prompts', 'x', ['neighborhood_prompts', 'an array of strings']],
    ['counterfact', 'paraphrase_prompts', ['a', 1], ['paraphrase_prompts[1]', 'a string', '1']],
    ['zsre', 'answers', [], ['answers', 'an array with an answer']],
    ['zsre', 'src', 'Who?', ['src', 'the subject', 'Who?']],
    ['zsre', 'loc_ans', 7, ['loc_ans', 'a string', '7']],
    ['easyedit', 'target_new', { string: 'x' }, ['target_new.str', 'a string']],
    ['easyedit', 'locality_ground_truth', undefined, ['locality_ground_truth']],
  ];
  for (const [name, path, value, words] of cases) {
    const records = JSON.parse(file(name)) as object[];
    records[2] = changed(records[2]!, path, value);
    const lines = records.map((record) => JSON.stringify(record)).join('\n');
    for (const [text, where] of [
      [JSON.stringify(records), 'facts.json: record 2: '],
      [`\n${lines}`, 'facts.json: line 4, record 2: '],
    ] as const) {
      const error = thrown(() => readFacts(text, 'facts.json'));
      assert.instance(error, UsageError);
      for (const word of [where, ...words])
        assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
    }
  }
});

test('what is no data file is refused with what would be one', () => {
  for (const [text, words] of [
    ['', ['expected a JSON array', 'an empty file']],
    ['[]', ['at least one record']],
    ['# nothing\n', ['at least one record']],
    ['hello', ['expected a JSON array', 'hello']],
    ['[1]', ['record 0', 'an object', '1']],
    ['[{"a": 1}]', ['record 0', 'known layout', 'zsre (src, answers)', '["a"]']],
    ['[{"case_id"', ['expected JSON', 'complete']],
    ['{"src": 1}\n{"src', ['line 2, record 1', 'expected JSON']],
    ['"a [b] c" -> "d"', ['line 1', '"text" => "text"', 'Write "The capital']],
    ['"a b c" => "d"', ['line 1', 'one [subject]']],
    ['#\n"[a] [b] c" => "d"', ['line 2', 'one [subject]']],
    ['"[a] c" => " "', ['line 1', 'target', 'some text']],
    ['"[a] {} c" => "d"', ['line 1', 'prompt', 'one {}']],
    ['"[a] \\q" => "d"', ['line 1', 'JSON string']],
  ] as const) {
    const error = thrown(() => readFacts(text, 'facts.txt'));
    assert.instance(error, UsageError);
    for (const word of ['facts.txt', ...words])
      assert.ok(error.message.includes(word), `${word} is not in: ${error.message}`);
  }
});

test.run();
