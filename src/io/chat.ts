/**
 * A question as a chat model wants it asked: its own template around it.
 *
 * A template is a program of the model's author, with loops. It runs in a process of bounded memory and time, so that
 * one without end is ended, and Ctrl-C is heard meanwhile.
 */
import { execFile } from 'node:child_process';
import process from 'node:process';
import { promisify } from 'node:util';
import { UsageError } from '../errors.ts';
import { parseJson } from '../json.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Templates have some ten thousand characters, and a question's text is little longer than the question. */
const LONGEST_TEMPLATE = 200_000;
const LONGEST_TEXT = 1_000_000;
/** Rendering takes milliseconds, beside 0.1 s that the process takes to begin. */
const MOST_MS = 3000;
const MOST_MEGABYTES = 64;

/**
 * The text that the model goes on from: the question as a user's turn, and the beginning of the answer. It brings its
 * own BOS, so it is encoded without one.
 *
 * @param config parsed `tokenizer_config.json`; `chat_template` may be a text or a list of `{name, template}`
 * @throws UsageError when there is no template, or it does not render; the signal's reason
 */
export async function askInChat(
  id: string,
  config: unknown,
  question: string,
  signal?: AbortSignal,
): Promise<string> {
  const fields = (config ?? {}) as Fields;
  const template = templateOf(fields.chat_template);
  if (template === undefined || template.length > LONGEST_TEMPLATE)
    throw new UsageError(
      `--chat: expected a model with a chat template in tokenizer_config.json or chat_template.jinja, but ${id} has ${template === undefined ? 'none' : 'one of more than 200,000 characters'}. Leave out --chat, or take a model made for chat.`,
      'no_chat_template',
    );
  const values = {
    messages: [{ role: 'user', content: question }],
    add_generation_prompt: true,
    bos_token: tokenText(fields.bos_token),
    eos_token: tokenText(fields.eos_token),
  };
  const found = await rendered({ template, values }, signal);
  if (found.text !== undefined) return found.text;
  throw new UsageError(
    `--chat: expected the chat template of ${id} to take one question, but ${found.fault}. Leave out --chat.`,
    'bad_chat_template',
  );
}

/** What the process does; a text, as Node runs a file of TypeScript only once it is built. */
const PROGRAM = `
  let input = '';
  for await (const part of process.stdin.setEncoding('utf8')) input += part;
  const { template, values, jinja, longest } = JSON.parse(input);
  const { Template } = await import(jinja);
  let found;
  try {
    const text = new Template(template).render(values);
    found = text.length <= longest ? { text } : { fault: 'it gives ' + text.length + ' characters' };
  } catch (error) {
    found = { fault: 'it says: ' + String(error.message).slice(0, 1000) };
  }
  process.stdout.write(JSON.stringify(found));
`;

/** The text, or what stood against it. In a process of its own: memory that a worker lacks ends all of them. */
async function rendered(
  job: { readonly template: string; readonly values: Fields },
  signal: AbortSignal | undefined,
): Promise<{ readonly text?: string; readonly fault?: string }> {
  const words = [`--max-old-space-size=${MOST_MEGABYTES}`, '--input-type=module', '--eval', PROGRAM];
  const limits = { timeout: MOST_MS, killSignal: 'SIGKILL', maxBuffer: 8 * LONGEST_TEXT } as const;
  const running = promisify(execFile)(process.execPath, words, signal ? { ...limits, signal } : limits);
  running.child.stdin?.on('error', () => undefined); // it ended before it had read all
  const jinja = import.meta.resolve('@huggingface/jinja');
  running.child.stdin?.end(JSON.stringify({ ...job, jinja, longest: LONGEST_TEXT }));
  const output = await running.catch((error: { readonly killed?: boolean }) => {
    signal?.throwIfAborted();
    return { fault: `it takes more than ${error.killed ? `${MOST_MS / 1000} s` : `${MOST_MEGABYTES} MB`}` };
  });
  return 'fault' in output ? output : (parseJson(output.stdout) as { text?: string; fault?: string });
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
