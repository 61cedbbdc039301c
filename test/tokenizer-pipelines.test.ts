/** Tokenizers of Llama 2 and 3, Qwen 2, SmolLM2 and NeoX against Hugging Face's own implementation: ids, text, lookups, target ids. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lookupSubject } from '../src/edit/rows.ts';
import { nest, readTemplate, sentence } from '../src/edit/template.ts';
import { ModelError, UsageError } from '../src/errors.ts';
import { askInChat } from '../src/io/chat.ts';
import { Tokenizer } from '../src/models/tokenizer.ts';
import { throws } from './folder.ts';

interface Golden {
  tokenizer: { post_processor: unknown; model: { vocab: Record<string, number>; merges: unknown[] } };
  config: object;
  contexts: string[];
  texts: { text: string; ids: number[]; decoded: string }[];
  edits: {
    request: { prompt: string; subject: string; target_new: string };
    target_ids: number[];
    lookups: number[];
  }[];
}

const test = suite('tokenizer pipelines');
const packed = readFileSync(new URL('golden/tokenizers.json.gz', import.meta.url));
const golden = Object.entries(JSON.parse(gunzipSync(packed).toString('utf8')) as Record<string, Golden>);
const tokenizers = new Map(
  golden.map(([name, { tokenizer, config }]) => [name, new Tokenizer(tokenizer, config)]),
);
const of = (name: string): Tokenizer => tokenizers.get(name)!;

for (const [name, { texts, contexts, edits }] of golden) {
  test(`${name}: ids and text`, () => {
    for (const { text, ids, decoded } of texts) {
      const found = of(name).encode(text);
      assert.equal(found.slice(0, ids.length), ids, JSON.stringify(text.slice(0, 80)));
      assert.is(of(name).decode(ids), decoded);
      assert.equal(of(name).encodeDocument(text, 5), found.slice(0, 5));
    }
  });

  test(`${name}: lookups and target ids, in every context`, () => {
    for (const { request, target_ids, lookups } of edits)
      contexts.forEach((context, j) => {
        const { prompt, subject, target_new: target } = request;
        const template = nest(readTemplate(context, 'context', ''), readTemplate(prompt, 'prompt', ''));
        assert.is(lookupSubject(of(name), template, subject).lookup, lookups[j]);
        const text = sentence({ prompt: template.before + '{}' + template.after, subject });
        assert.equal(of(name).encodeTarget(text, target), {
          prompt: of(name).encode(text),
          target: target_ids,
        });
      });
  });
}

test('BOS stands before every text where the post-processor puts it, and nowhere else', () => {
  assert.equal(of('llama2').encode(''), [1]);
  assert.equal(of('llama2').encode('<s> x', { before: false })[0], 1);
  assert.equal(of('llama2').encodeWithSpans('a b').ends, [0, 2, 4], 'a blank goes in front of the text');
  assert.equal([of('llama3').before.length, of('qwen2').before.length], [1, 0]);
  assert.is(of('qwen2').decode([]), '');
  const ids = of('llama2').encode('In Rome');
  assert.is(of('llama2').decode(ids.slice(1)), 'In Rome');
  assert.is(of('llama2').decodeAfter(ids.slice(1)), ' In Rome');
});

test('a config that wants BOS where the post-processor adds none is said, and the other way round', () => {
  const [, { tokenizer, config }] = golden.find(([name]) => name === 'llama2')!;
  const bare = new Tokenizer({ ...tokenizer, post_processor: null }, config);
  assert.is(bare.notices.length, 1);
  assert.match(bare.notices[0]!, /add_bos_token.*adds none/);
  assert.match(new Tokenizer(tokenizer, { ...config, add_bos_token: false }).notices[0]!, /adds <s>/);
  assert.equal(of('llama2').notices, []);
});

test('a prompt whose tokens change before the target is refused, and so is a vocabulary that lacks bytes', async () => {
  const [, { tokenizer, config }] = golden.find(([name]) => name === 'llama2')!;
  const { vocab, merges } = tokenizer.model;
  const twoBlanks = { ...tokenizer.model, vocab: { ...vocab, '▁▁': 1520 }, merges: [['▁', '▁'], ...merges] };
  const merging = new Tokenizer({ ...tokenizer, model: twoBlanks }, config);
  await throws(() => merging.encodeTarget('In ', 'x'), UsageError, 'target', 'End the prompt', '" "', '"  "');
  assert.equal(of('llama2').encodeTarget('In ', 'x').prompt, of('llama2').encode('In '));
  const { '<0x41>': _, ...fewer } = vocab;
  const model = { ...tokenizer.model, vocab: fewer };
  await throws(() => new Tokenizer({ ...tokenizer, model }, config), ModelError, '<0x41>');
});

test('a chat template asks one question; without one, or with one that fails, the command says so', async () => {
  const chatml =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  const want =
    '<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n';
  assert.is(await askInChat('m', { chat_template: chatml }, 'Where?'), want);
  const list = [
    { name: 'tools', template: 'x' },
    { name: 'default', template: '{{ bos_token }}{{ messages[0].content }}' },
  ];
  assert.is(await askInChat('m', { chat_template: list, bos_token: { content: '<s>' } }, 'Who?'), '<s>Who?');
  await throws(() => askInChat('m', {}, 'Who?'), UsageError, '--chat', 'm has none');
  const refusing = { chat_template: "{{ raise_exception('Only after you.') }}" };
  await throws(() => askInChat('m', refusing, 'Who?'), UsageError, '--chat', 'Only after you.');
  for (const [template, ...said] of [
    ['{% for i in range(1000000000) %}{% endfor %}', 'more than 64 MB'],
    ['{% for i in range(200) %}{{ messages[0].content }}{% endfor %}', '2000000 characters'],
    [`{{ ${'('.repeat(50_000)}`, 'it says'],
  ] as const)
    await throws(() => askInChat('m', { chat_template: template }, 'x'.repeat(1e4)), UsageError, ...said);
  const endless = '{% for i in range(20000) %}{% for j in range(20000) %}{% endfor %}{% endfor %}';
  const signal = AbortSignal.timeout(300);
  await throws(() => askInChat('m', { chat_template: endless }, 'x', signal), DOMException, 'timeout');
});

test.run();
