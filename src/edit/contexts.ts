/** The contexts of an edit: read from a file, or what the model itself says after BOS or `<|endoftext|>`. */
import { ModelError, UsageError } from '../errors.ts';
import { jsonFrom } from '../json.ts';
import { generate } from '../models/generate.ts';
import type { Model } from '../models/model.ts';
import { readTemplate, show } from './template.ts';

/** The context that adds nothing; always the first, because v0 is read from the bare prompt. */
const BARE_CONTEXT = '{}';

/**
 * What is sampled when nobody hands contexts in: 10 texts of 4 tokens, then 10 of 9, each after BOS or `<|endoftext|>`,
 * the next token drawn from the 5 most likely.
 *
 * @see kmeng01/rome: `context_template_length_params` [[5, 10], [10, 10]], lengths that count `<|endoftext|>`
 */
const SAMPLED_CONTEXTS = {
  topK: 5,
  groups: [
    { tokens: 4, count: 10 },
    { tokens: 9, count: 10 },
  ],
} as const;

/**
 * A context template from a sampled text, its `<|endoftext|>` start included or not.
 *
 * Unicode NFKD, a blank for each empty line, no `<|endoftext|>`: as published. Braces are dropped as well, so that the
 * only `{}` is ours (the published code crashes on a sampled brace). Blanks and line breaks around it stay.
 */
export function contextFromSample(sample: string): string {
  const text = sample.normalize('NFKD').replaceAll('\n\n', ' ').replaceAll('<|endoftext|>', '');
  return `${text.replace(/[{}]/g, '')}. ${BARE_CONTEXT}`;
}

/**
 * Reads a contexts file: a JSON array of strings with one `{}` each. `"{}"` comes first, moved or added when it does not.
 *
 * @param text  the file's content
 * @param name  the file's name, for messages
 * @throws UsageError naming the file and the index of the offending template
 */
export function parseContexts(text: string, name: string): string[] {
  return parseContextGroups(text, name).flat();
}

/**
 * The same in groups, for many facts at once: an array of arrays, the first of which is the bare prompt. Of one flat array
 * `"{}"` is the first group and the rest the second.
 *
 * @throws as `parseContexts`
 */
export function parseContextGroups(text: string, name: string): string[][] {
  const advice = 'Write a JSON array such as ["{}", "In short. {}"].';
  const list = jsonFrom(
    text.replace(/^\uFEFF/, ''),
    (found, cause) => new UsageError(`${name}: expected JSON, found ${found}. ${advice}`, 'usage', { cause }),
  );
  if (!Array.isArray(list)) {
    const found = list === null ? 'null' : `a value of type ${typeof list}`;
    throw new UsageError(`${name}: expected an array of templates, found ${found}. ${advice}`);
  }
  const grouped = list.length > 0 && list.every((item: unknown) => Array.isArray(item));
  let index = 0;
  const templates = (grouped ? (list as unknown[][]) : [list as unknown[]]).map((group) =>
    group.map((item) => {
      const where = `${name}: context ${index++}`;
      if (typeof item !== 'string') {
        throw new UsageError(`${where}: expected a string, found ${show(JSON.stringify(item))}. ${advice}`);
      }
      readTemplate(item, where, 'Write {} where the prompt goes, once.');
      return item;
    }),
  );
  // The bare prompt is a group of its own, wherever it stood first.
  const flat = templates.flat();
  const bare = flat.indexOf(BARE_CONTEXT);
  let at = 0;
  const rest = templates.map((group) => group.filter(() => at++ !== bare));
  return [[BARE_CONTEXT], ...rest.filter((group) => group.length > 0)];
}

/** Raised whenever a seed would give other contexts; part of the name under which they are cached. */
export const SAMPLING_VERSION = 1;

/**
 * 21 templates, `{}` first. All samples are one batch: row b draws from stream b of the seed, and the shorter texts are
 * the beginnings of theirs. In a sequence of edits they come from the unedited model, as published.
 *
 * @throws ModelError when the tokenizer has nothing to begin a text with
 * @see kmeng01/rome `get_context_templates`
 */
export async function sampleContexts(
  model: Model,
  seed: number,
  options: SamplingOptions = {},
): Promise<string[]> {
  const start = [...model.tokenizer.start];
  if (start.length === 0)
    throw new ModelError(
      `contexts: expected ${model.id} to have a BOS token or <|endoftext|>, to begin a text with; it has neither. Give contexts of your own with --contexts.`,
    );
  const lengths = SAMPLED_CONTEXTS.groups.flatMap(({ tokens, count }) => Array<number>(count).fill(tokens));
  const starts = lengths.map(() => start);
  const samples = await sampleIds(model, seed, starts, lengths, options);
  return [BARE_CONTEXT, ...samples.map((ids) => contextFromSample(model.tokenizer.decode(ids)))];
}

/** What the sampled contexts of many facts begin with, and how long each is in tokens. */
const GROUPED_CONTEXTS = { starts: ['The', 'Therefore', 'Because', 'I', 'You'], tokens: 10 } as const;

/**
 * Two groups, the bare prompt and five sampled texts: those of many facts at once.
 *
 * @see kmeng01/memit `get_context_templates`: `["The", "Therefore", "Because", "I", "You"]`, lengths [[10, 5]]
 */
export async function sampleContextGroups(
  model: Model,
  seed: number,
  options: SamplingOptions = {},
): Promise<string[][]> {
  const starts = GROUPED_CONTEXTS.starts.map((word) => model.tokenizer.encode(word));
  const lengths = starts.map(({ length }) => Math.max(1, GROUPED_CONTEXTS.tokens - length));
  const samples = await sampleIds(model, seed, starts, lengths, options);
  const texts = samples.map((ids, b) => `${GROUPED_CONTEXTS.starts[b]}${model.tokenizer.decodeAfter(ids)}`);
  return [[BARE_CONTEXT], texts.map(contextFromSample)];
}

interface SamplingOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: (done: number, total: number) => void;
}

/** What the model says after each start, all of them in one batch. */
async function sampleIds(
  model: Model,
  seed: number,
  starts: readonly number[][],
  lengths: readonly number[],
  { signal, onStep }: SamplingOptions,
): Promise<number[][]> {
  const tokens = Math.max(...lengths);
  let drawn = 0;
  const samples = await generate(model, starts, {
    tokens,
    topK: SAMPLED_CONTEXTS.topK,
    seed,
    onToken: () => onStep?.((drawn += 1), tokens * lengths.length),
    signal,
  });
  return samples.map((ids, b) => ids.slice(0, lengths[b]));
}
