import { UsageError } from '../errors.ts';
import { isRecord } from '../json.ts';

/**
 * One record of a data file, read field by field; every complaint names file, record and field.
 */
export class RecordReader {
  private readonly fields: Readonly<Record<string, unknown>>;
  /** File and record, for messages: `zsre.json: record 3`. */
  readonly where: string;
  /** Before a field's name: those of the objects it lies in, `requested_rewrite.`, or `column `. */
  private readonly path: string;

  /** @throws UsageError when the value is no object */
  constructor(value: unknown, where: string, path = '') {
    if (!isRecord(value)) {
      const name = path === '' ? where : `${where}: ${path.slice(0, -1)}`;
      throw new UsageError(`${name}: expected an object, found ${describe(value)}.`);
    }
    this.fields = Object.fromEntries(Object.entries(value)); // nothing inherited
    this.where = where;
    this.path = path;
  }

  has(field: string): boolean {
    return this.fields[field] !== undefined && this.fields[field] !== null;
  }

  object(field: string): RecordReader {
    return new RecordReader(this.fields[field], this.where, `${this.path}${field}.`);
  }

  /** A string with something in it. */
  text(field: string): string {
    return this.#filled(field, this.fields[field]);
  }

  #filled(field: string, value: unknown): string {
    if (typeof value !== 'string') this.refuse(field, 'a string', describe(value));
    if (value.trim() === '') this.refuse(field, 'some text', describe(value));
    const lone = /\p{Surrogate}/u.exec(value);
    if (lone !== null) this.refuse(field, 'Unicode text', `half a character at ${lone.index}`);
    return value;
  }

  optionalText(field: string): string | null {
    return this.has(field) ? this.text(field) : null;
  }

  /** An array of strings; an absent one is empty. */
  texts(field: string): string[] {
    if (!this.has(field)) return [];
    const value = this.fields[field];
    if (!Array.isArray(value)) this.refuse(field, 'an array of strings', describe(value));
    return value.map((item: unknown, i) => {
      if (typeof item !== 'string') this.refuse(`${field}[${i}]`, 'a string', describe(item));
      return item;
    });
  }

  /** An array of strings with something in each: a model is asked all of them. */
  prompts(field: string): string[] {
    return this.texts(field).map((text, i) => this.#filled(`${field}[${i}]`, text));
  }

  /** A whole number; `otherwise` when the field is absent. */
  integer(field: string, otherwise: number): number {
    if (!this.has(field)) return otherwise;
    const value = this.fields[field];
    if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
    this.refuse(field, 'a whole number', describe(value));
  }

  /** The name of what a fact is about. It may hold no braces: `{}` marks its place in prompts. */
  subject(field: string): string {
    const subject = this.text(field);
    if (/[{}]/.test(subject)) this.refuse(field, 'no braces', describe(subject));
    return subject;
  }

  /** An object of a fact, without the one blank that joins it to the prompt. */
  target(field: string): string {
    const text = this.text(field);
    const target = text.startsWith(' ') ? text.slice(1) : text;
    if (target.startsWith(' ')) this.refuse(field, 'at most one blank in front', describe(text));
    return target;
  }

  /** An object of a fact, as it is or as the `str` of an object. */
  wrapped(field: string): string {
    return this.has(field) && typeof this.fields[field] === 'object'
      ? this.object(field).target('str')
      : this.target(field);
  }

  /** A prompt that holds `{}` once. */
  template(field: string): string {
    const text = this.text(field);
    const found = text.split('{}').length - 1;
    if (found !== 1) this.refuse(field, 'one {} where the subject goes', `${found} in ${describe(text)}`);
    return text;
  }

  /**
   * A sentence in which the subject is written out, with `{}` in place of the subject.
   *
   * The published loader replaces every occurrence, and a prompt with two `{}` then fails. Here the first whole-word
   * occurrence is replaced (else the first of all), the others stay: filled in, the sentence is the same.
   */
  sentenceAround(field: string, subject: string): string {
    const text = this.text(field);
    const at = findWord(text, subject);
    if (at < 0) this.refuse(field, `the subject ${JSON.stringify(subject)} in it`, describe(text));
    if (text.includes('{}')) this.refuse(field, 'no {}: the subject is written out', describe(text));
    return `${text.slice(0, at)}{}${text.slice(at + subject.length)}`;
  }

  refuse(field: string, expected: string, found: string): never {
    throw new UsageError(`${this.where}: ${this.path}${field}: expected ${expected}, found ${found}.`);
  }
}

/** Where `word` stands in `text` with no letter or digit at either side; else where it stands at all; else -1. */
function findWord(text: string, word: string): number {
  const inWord = /[\p{L}\p{N}]/u;
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (!inWord.test(text.charAt(at - 1)) && !inWord.test(text.charAt(at + word.length))) return at;
  }
  return text.indexOf(word);
}

/** A value as messages show it: cut, or by its kind. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  const json = JSON.stringify(value) ?? typeof value;
  return json.length > 100 ? `${json.slice(0, 100)}…` : json;
}
