/** A question as a chat model wants it asked: its own template around it. */
import { UsageError } from '../errors.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A template is a small program of the model's author; a longer one is none. */
const LONGEST_TEMPLATE = 200_000;

/**
 * The text that the model goes on from: the question as a user's turn, and the beginning of the answer. It brings its
 * own BOS, so it is encoded without one.
 *
 * @param config parsed `tokenizer_config.json`; `chat_template` may be a text or a list of `{name, template}`
 * @throws UsageError when there is no template, or it does not render
 */
export async function askInChat(id: string, config: unknown, question: string): Promise<string> {
  const fields = (config ?? {}) as Fields;
  const template = templateOf(fields.chat_template);
  if (template === undefined || template.length > LONGEST_TEMPLATE)
    throw new UsageError(
      `--chat: expected a model with a chat template in tokenizer_config.json or chat_template.jinja, but ${id} has ${template === undefined ? 'none' : 'one of more than 200,000 characters'}. Leave out --chat, or take a model made for chat.`,
      'no_chat_template',
    );
  const { Template } = await import('@huggingface/jinja'); // only when needed
  try {
    return new Template(template).render({
      messages: [{ role: 'user', content: question }],
      add_generation_prompt: true,
      bos_token: tokenText(fields.bos_token),
      eos_token: tokenText(fields.eos_token),
    });
  } catch (error) {
    throw new UsageError(
      `--chat: expected the chat template of ${id} to take one question, but it says: ${(error as Error).message}. Leave out --chat.`,
      'bad_chat_template',
      { cause: error },
    );
  }
}

function templateOf(found: unknown): string | undefined {
  if (typeof found === 'string') return found;
  if (!Array.isArray(found)) return undefined;
  const named = found as readonly { readonly name?: unknown; readonly template?: unknown }[];
  const { template } = named.find((entry) => entry?.name === 'default') ?? named[0] ?? {};
  return typeof template === 'string' ? template : undefined;
}

function tokenText(token: unknown): string {
  const content = typeof token === 'object' && token !== null ? (token as Fields).content : token;
  return typeof content === 'string' ? content : '';
}
