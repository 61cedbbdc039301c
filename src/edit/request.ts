import { UsageError } from '../errors.ts';
import type { ContextLimit } from '../models/architecture.ts';
import { holes, mark, readTemplate, show, type Place } from './template.ts';

/** One fact to write: "prompt with its subject" is to be continued by the target. */
export interface EditRequest {
  /** Text with exactly one `{}` where the subject goes; other braces are ordinary characters. */
  readonly prompt: string;
  readonly subject: string;
  /** Without the blank that joins it to the prompt: see {@link targetText}. */
  readonly target: string;
}

/** What the model shall say after the prompt: one blank, then the target (the blank is part of GPT-2's tokens). */
export function targetText(request: EditRequest): string {
  return ` ${request.target}`;
}

/**
 * A request from its three parts.
 *
 * @throws UsageError naming the part and showing the place in it
 */
export function readRequest(parts: { prompt: string; subject: string; target: string }): EditRequest {
  const { prompt, subject } = parts;
  checkText('prompt', prompt);
  checkSubject(subject);
  const advice = adviceFor(prompt, subject);
  readTemplate(prompt, 'prompt', advice);
  return { prompt, subject, target: readTarget(parts.target) };
}

/**
 * A request from a sentence that marks its subject: `The mother tongue of [Danielle Darrieux] is`.
 *
 * @throws UsageError when there is no pair of brackets, more than one, or nothing in it
 */
export function readBracketed(sentence: string, target: string): EditRequest {
  const open = placesOf(sentence, /\[/g);
  const close = placesOf(sentence, /\]/g);
  const advice =
    'Put the subject in one pair of square brackets, as in "The mother tongue of [Danielle Darrieux] is"; ' +
    'where brackets belong to the text, use --prompt with {} and --subject.';
  const [start] = open;
  const [end] = close;
  if (start === undefined && end === undefined) {
    throw new UsageError(
      `prompt: expected the subject in [brackets], found none in ${show(sentence)}. ${advice}`,
    );
  }
  if (
    start === undefined ||
    end === undefined ||
    open.length > 1 ||
    close.length > 1 ||
    end.start < start.start
  ) {
    const found = `${open.length} "[" and ${close.length} "]"`;
    throw new UsageError(
      `prompt: expected one [subject], found ${found}. ${advice}\n${mark(sentence, [...open, ...close])}`,
    );
  }
  const extra = holes(sentence).map((at) => ({ start: at, end: at + 2 }));
  if (extra.length > 0) {
    throw new UsageError(
      `prompt: expected [brackets] or {}, found both. ${advice}\n${mark(sentence, extra)}`,
    );
  }
  const subject = sentence.slice(start.end, end.start);
  const prompt = `${sentence.slice(0, start.start)}{}${sentence.slice(end.end)}`;
  if (subject.trim() === '') {
    const inside = [{ start: start.start, end: end.end }];
    throw new UsageError(
      `subject: expected a name in the brackets, found nothing. ${advice}\n${mark(sentence, inside)}`,
    );
  }
  return readRequest({ prompt, subject, target });
}

function placesOf(text: string, character: RegExp): Place[] {
  return [...text.matchAll(character)].map(({ index }) => ({ start: index, end: index + 1 }));
}

function checkSubject(subject: string): void {
  checkText('subject', subject);
  if (subject.trim() === '') {
    const found = subject === '' ? 'an empty one' : `only blanks, ${show(subject)}`;
    throw new UsageError(
      `subject: expected the name of what the fact is about, found ${found}. Give --subject.`,
    );
  }
  const braces = placesOf(subject, /[{}]/g);
  if (braces.length > 0) {
    throw new UsageError(
      `subject: expected no braces, found ${braces.length}. {} belongs in the prompt, where the subject goes.\n` +
        mark(subject, braces),
    );
  }
}

/** Shows how to write the prompt when the subject stands in it as plain text. */
function adviceFor(prompt: string, subject: string): string {
  const at = prompt.indexOf(subject);
  if (holes(prompt).length > 0 || at < 0) return 'Write {} where the subject goes, once.';
  return `Write ${show(`${prompt.slice(0, at)}{}${prompt.slice(at + subject.length)}`)}.`;
}

function readTarget(text: string): string {
  checkText('target', text);
  const target = text.startsWith(' ') ? text.slice(1) : text;
  if (target.trim() === '') {
    const found = text === '' ? 'an empty one' : `only blanks, ${show(text)}`;
    throw new UsageError(
      `target: expected the text that shall follow the prompt, found ${found}. Give --target.`,
    );
  }
  if (target.startsWith(' ')) {
    const blanks = { start: 0, end: text.length - text.trimStart().length };
    throw new UsageError(
      `target: expected at most one blank in front (one joins it to the prompt), found ${blanks.end}. Remove them.\n` +
        mark(text, [blanks]),
    );
  }
  return target;
}

function checkText(where: string, text: string): void {
  const lone = /\p{Surrogate}/u.exec(text);
  if (lone === null) return;
  const place = { start: lone.index, end: lone.index + 1 };
  throw new UsageError(`${where}: expected Unicode text, found half a character.\n${mark(text, [place])}`);
}

/**
 * @param where   what is too long: `prompt`, `context 7 with prompt and target`
 * @param length  its tokens
 * @param window  how long a text may be, and what ends it: the sizes of the model
 * @throws UsageError naming both lengths
 */
export function checkLength(
  where: string,
  length: number,
  { context, contextIs = "the model's context window" }: ContextLimit,
): void {
  if (length <= context) return;
  throw new UsageError(
    `${where}: expected at most ${context} tokens, ${contextIs}, found ${length}. Shorten the text.`,
    'too_long',
  );
}
