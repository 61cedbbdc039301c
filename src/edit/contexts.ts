/** The contexts of an edit: read from a file, or what the model itself says after BOS or `<|endoftext|>`. */
import { ModelError, UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';
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
  const advice = 'Write a JSON array such as ["{}", "In short. {}"].';
  let list: unknown;
  try {
    list = parseJson(text.replace(/^\uFEFF/, ''));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`${name}: expected JSON, found ${why}. ${advice}`, 'usage', { cause });
  }
  if (!Array.isArray(list)) {
    const found = list === null ? 'null' : `a value of type ${typeof list}`;
    throw new UsageError(`${name}: expected an array of templates, found ${found}. ${advice}`);
  }
  const templates = list.map((item: unknown, index) => {
    const where = `${name}: context ${index}`;
    if (typeof item !== 'string') {
      throw new UsageError(`${where}: expected a string, found ${show(JSON.stringify(item))}. ${advice}`);
    }
    readTemplate(item, where, 'Write {} where the prompt goes, once.');
    return item;
  });
  const bare = templates.indexOf(BARE_CONTEXT);
  return [BARE_CONTEXT, ...templates.filter((_, index) => index !== bare)];
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
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly onStep?: (done: number, total: number) => void;
  } = {},
): Promise<string[]> {
  const start = [...model.tokenizer.start];
  if (start.length === 0)
    throw new ModelError(
      `contexts: expected ${model.id} to have a BOS token or <|endoftext|>, to begin a text with; it has neither. Give contexts of your own with --contexts.`,
    );
  const lengths = SAMPLED_CONTEXTS.groups.flatMap(({ tokens, count }) => Array<number>(count).fill(tokens));
  const tokens = Math.max(...lengths);
  let drawn = 0;
  const samples = await generate(
    model,
    lengths.map(() => start),
    {
      tokens,
      topK: SAMPLED_CONTEXTS.topK,
      seed,
      onToken: () => options.onStep?.((drawn += 1), tokens * lengths.length),
      signal: options.signal,
    },
  );
  const texts = samples.map((ids, b) => model.tokenizer.decode(ids.slice(0, lengths[b])));
  return [BARE_CONTEXT, ...texts.map(contextFromSample)];
}
