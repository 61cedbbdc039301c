/** `palimpsest generate PROMPT...`: text from the model, sampled with a seed. */
import { UsageError } from '../src/errors.ts';
import { askInChat } from '../src/io/chat.ts';
import { generate as generateText } from '../src/models/generate.ts';
import type { Tokenizer } from '../src/models/tokenizer.ts';
import { plural, short } from '../src/numerals.ts';
import { command } from './commands.ts';
import { MODEL_FLAGS, SEED_FLAG, flag, whole } from './flags.ts';
import { applyNamed, introduce, noteBrackets, withSession } from './session.ts';
import type { Terminal } from './terminal.ts';

const TOKENS = 40;
const TOP_K = 5;

export const generate = command({
  positionals: { prompt: { type: 'string', array: true, describe: 'each a text in quotes' } },
  flags: {
    ...MODEL_FLAGS,
    tokens: whole(`tokens to add to each [default: ${TOKENS}]`, 1),
    'top-k': whole(`draw from the k most likely; 1 is greedy [default: ${TOP_K}]`, 1),
    chat: flag("ask in the model's chat template, instead of continuing the text"),
    ...SEED_FLAG,
  },
  examples: {
    '$0 generate "The mother tongue of" --seed 7': 'another seed, another text',
    '$0 generate "The mother tongue of Danielle Darrieux is" --tokens 8 --top-k 1 --edits darrieux.safetensors':
      'greedily, with an edit in the model',
  },
  run: (args, run) => {
    const prompts = (args.prompt ?? []).map(String);
    const empty = prompts.indexOf('');
    if (empty >= 0)
      throw new UsageError(
        `prompt ${empty}: expected some text, found none. <|endoftext|> starts from nothing.`,
      );
    return withSession(args, run, {}, async (session) => {
      const { model, timed, terminal, signal } = session;
      introduce(session);
      noteBrackets(session, prompts);
      await applyNamed(session);
      const { id, tokenizerConfig } = session.found.checkpoint;
      const asked = await Promise.all(
        prompts.map((prompt) => (args.chat ? askInChat(id, tokenizerConfig, prompt, signal) : prompt)),
      );
      // A template brings its own BOS.
      const ids = asked.map((text) => model.tokenizer.encode(text, { before: !args.chat }));
      const shown = prompts.map((prompt) => (args.chat ? `${prompt}\n` : prompt));
      const drawn = prompts.map((): number[] => []);
      const options = {
        tokens: args.tokens ?? TOKENS,
        topK: args['top-k'] ?? TOP_K,
        seed: args.seed ?? 0,
        stop: model.tokenizer.stop,
        signal,
      };
      // One prompt is written as it grows; several would run into each other.
      const isLive = prompts.length === 1 && !terminal.json;
      const live = isLive ? writerOf(model.tokenizer, terminal, shown[0] ?? '') : undefined;
      const bar = live ? undefined : terminal.progress('generate');
      let count = 0;
      const onToken = (row: number, id: number): void => {
        drawn[row]?.push(id);
        live?.write(id);
        bar?.update((count += 1), prompts.length * options.tokens);
      };
      const texts = (): string[] => drawn.map((row) => model.tokenizer.decodeAfter(row));
      try {
        await timed('generate', () => generateText(model, ids, { ...options, onToken }));
      } finally {
        bar?.stop();
        // After Ctrl-C too: what was drawn until then is kept.
        if (live) live.end();
        else if (drawn.some((row) => row.length > 0))
          texts().forEach((text, i) => terminal.print(...(i > 0 ? [''] : []), `${shown[i]}${text}`));
      }
      const tokens = drawn.flat().length;
      const rate = (1000 * tokens) / (session.timings['generate'] ?? 0);
      terminal.note(`palimpsest: ${plural(tokens, 'token')}, ${short(rate)} a second`);
      return session.report({
        seed: options.seed,
        top_k: options.topK,
        tokens_per_second: rate,
        texts: texts().map((text, i) => ({
          prompt: prompts[i],
          asked: args.chat ? asked[i] : undefined,
          text,
          ids: drawn[i],
        })),
      });
    });
  },
});

/** Writes tokens as they come; a character that spans two of them appears when it is whole. */
function writerOf(tokenizer: Tokenizer, terminal: Terminal, prompt: string) {
  const decoder = new TextDecoder();
  let begun = false;
  return {
    /** With the first token comes the prompt: one that is refused is not printed. */
    write: (id: number): void => {
      if (!begun) terminal.write(prompt);
      begun = true;
      if (!tokenizer.stop.includes(id)) terminal.write(decoder.decode(tokenizer.bytes(id), { stream: true }));
    },
    end: (): void => {
      if (begun) terminal.write(`${decoder.decode()}\n`);
    },
  };
}
