/**
 * The tokenizer of a GGUF file, `tokenizer.ggml.*`, as the `tokenizer.json` and `tokenizer_config.json` of a folder.
 *
 * Source: ggml-org/llama.cpp, `src/llama-vocab.cpp` (what each `pre` stands for) and `gguf-py/gguf/constants.py`.
 */
import type { Gguf } from '../formats/gguf.ts';

/** Kinds of a token. Others are plain words, or bytes. */
const CONTROL = 3;
const USER_DEFINED = 4;

const TEMPLATE = 'tokenizer.chat_template';

type Json = Readonly<Record<string, unknown>>;

const splitBy = (pattern: string): Json => ({
  ...{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
});
const BYTES: Json = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
const GPT2: Json = { ...BYTES, use_regex: true };
const inTurn = (...pretokenizers: Json[]): Json => ({ type: 'Sequence', pretokenizers });

/** Numbers in groups of `digits`, as in Llama 3 and Qwen. */
const modern = (digits: string): Json =>
  inTurn(
    splitBy(
      String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ),
    BYTES,
  );

interface Pre {
  readonly cut: Json;
  readonly normalizer?: Json;
  /** A whole word of the vocabulary is taken without merging. */
  readonly wholeFirst?: boolean;
  /** BOS where the file says nothing. */
  readonly bos?: boolean;
}

const gpt2: Pre = { cut: GPT2 };
const digitByDigit: Pre = { cut: inTurn({ type: 'Digits', individual_digits: true }, GPT2) };
const llama3: Pre = { cut: modern(String.raw`\p{N}{1,3}`), wholeFirst: true, bos: true };
const qwen2: Pre = { cut: modern(String.raw`\p{N}`), normalizer: { type: 'NFC' } };

/** By `tokenizer.ggml.pre`. */
const PRES: Readonly<Record<string, Pre>> = {
  ...{ 'gpt-2': gpt2, 'phi-2': gpt2, olmo: gpt2 },
  ...{ smollm: digitByDigit, starcoder: digitByDigit, refact: digitByDigit, 'command-r': digitByDigit },
  ...{ 'llama-bpe': llama3, llama3: llama3, 'llama-v3': llama3 },
  ...{ qwen2: qwen2, 'deepseek-r1-qwen': qwen2 },
  default: {
    cut: inTurn(
      splitBy(String.raw`[\p{P}\$\+<=>\^~\|]+`),
      splitBy(String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`),
      splitBy(String.raw`\p{N}+`),
      splitBy('[0-9][0-9][0-9]'),
      BYTES,
    ),
  },
};

/** @throws ModelError naming the field, what was expected and what came */
export function ggufTokenizer(file: Gguf): { tokenizerJson: unknown; tokenizerConfig: unknown } {
  const tokens = file.list<string>('tokenizer.ggml.tokens', 'string');
  const plain = tokens.map(() => 1);
  const types = file.list<number>('tokenizer.ggml.token_type', 'number', plain);
  if (types.length !== tokens.length)
    throw file.wrong('tokenizer.ggml.token_type', `${tokens.length} numbers`, types.length);
  const kind = file.text('tokenizer.ggml.model');
  if (kind !== 'gpt2' && kind !== 'llama')
    throw file.wrong(
      'tokenizer.ggml.model',
      'gpt2 (BPE of bytes) or llama (SentencePiece)',
      kind.slice(0, 40),
      'Take the model as a folder with tokenizer.json.',
    );

  const isAdded = (id: number): boolean => types[id] === CONTROL || types[id] === USER_DEFINED;
  const added_tokens = tokens.flatMap((content, id) =>
    isAdded(id) && content !== ''
      ? [{ id, content, special: types[id] === CONTROL, normalized: false, lstrip: false, rstrip: false }]
      : [],
  );
  const vocab = Object.fromEntries(
    tokens.flatMap((token, id): [string, number][] => (isAdded(id) ? [] : [[token, id]])),
  );
  const named = (field: string): string | undefined => {
    const id = file.number(`tokenizer.ggml.${field}_token_id`, -1);
    return id < 0 ? undefined : tokens[id];
  };
  const bos = named('bos');
  const { addsBos, ...parts } = kind === 'gpt2' ? bytePairs(file) : sentencePiece(file, tokens, vocab);
  const adds = file.flag('tokenizer.ggml.add_bos_token', addsBos);
  if (adds && bos === undefined)
    throw file.wrong('tokenizer.ggml.bos_token_id', 'the id of a token', undefined);
  return {
    tokenizerJson: {
      added_tokens,
      ...parts,
      model: { type: 'BPE', vocab, ...parts.model },
      post_processor: adds && bos !== undefined ? before(bos, tokens.indexOf(bos)) : null,
    },
    tokenizerConfig: {
      bos_token: bos,
      eos_token: named('eos'),
      add_bos_token: adds,
      chat_template: file.metadata.has(TEMPLATE) ? file.text(TEMPLATE) : undefined,
    },
  };
}

interface Parts {
  readonly addsBos: boolean;
  readonly normalizer: Json | null;
  readonly pre_tokenizer: Json | null;
  readonly decoder: Json;
  readonly model: Json;
}

function bytePairs(file: Gguf): Parts {
  const pre = file.text('tokenizer.ggml.pre', 'default');
  const known = Object.hasOwn(PRES, pre) ? PRES[pre] : undefined;
  if (!known)
    throw file.wrong(
      'tokenizer.ggml.pre',
      Object.keys(PRES).join(', '),
      pre.slice(0, 40),
      'Words would be cut wrongly: take the model as a folder with tokenizer.json.',
    );
  return {
    addsBos: known.bos ?? false,
    normalizer: known.normalizer ?? null,
    pre_tokenizer: known.cut,
    decoder: { type: 'ByteLevel' },
    model: {
      merges: file.list<string>('tokenizer.ggml.merges', 'string'),
      ignore_merges: known.wholeFirst ?? false,
    },
  };
}

/** SentencePiece's scores as merges: every way to put a token together of two others, best tokens first. */
function sentencePiece(file: Gguf, tokens: readonly string[], vocab: Json): Parts {
  const scores = file.list<number>('tokenizer.ggml.scores', 'number');
  if (scores.length !== tokens.length)
    throw file.wrong('tokenizer.ggml.scores', `${tokens.length} numbers`, scores.length);
  const ids = new Map(Object.entries(vocab as Record<string, number>));
  const merges = [...ids].flatMap(([token, id]) => {
    const letters = [...token];
    return letters.slice(1).flatMap((_, i) => {
      const [left, right] = [letters.slice(0, i + 1).join(''), letters.slice(i + 1).join('')];
      const [l, r] = [ids.get(left), ids.get(right)];
      return l === undefined || r === undefined
        ? []
        : [{ pair: [left, right], score: scores[id] ?? 0, l, r }];
    });
  });
  merges.sort((a, b) => b.score - a.score || a.l - b.l || a.r - b.r);
  const inFront = file.flag('tokenizer.ggml.add_space_prefix', true);
  const blanks: Json = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const back: Json = { type: 'Replace', pattern: { String: '▁' }, content: ' ' };
  const strip: Json = { type: 'Strip', content: ' ', start: 1, stop: 0 };
  return {
    addsBos: true,
    normalizer: inFront
      ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, blanks] }
      : { type: 'Sequence', normalizers: [blanks] },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [back, { type: 'ByteFallback' }, { type: 'Fuse' }, ...(inFront ? [strip] : [])],
    },
    model: {
      byte_fallback: true,
      fuse_unk: true,
      unk_token: '<unk>',
      merges: merges.map(({ pair }) => pair),
    },
  };
}

/** A post-processor that puts a token before a text. */
function before(token: string, id: number): Json {
  return {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
