/** What a tracing reads: the tokens of a fact, where its subject lies, and the object that is to be recalled. */
import { UsageError } from '../errors.ts';
import { checkLength } from '../edit/request.ts';
import { lookupSubject } from '../edit/subject.ts';
import { fill, readTemplate } from '../edit/template.ts';
import type { Model } from '../models/model.ts';
import { predict } from '../models/predict.ts';

export interface TraceRequest {
  /** Text with one `{}` where the subject goes. */
  readonly prompt: string;
  readonly subject: string;
  /** What the model is to recall, without the blank in front; absent: the token it finds likeliest. */
  readonly object?: string | undefined;
}

export interface TraceText {
  /** The prompt, then all object tokens but the last. */
  readonly ids: readonly number[];
  /** Tokens of the prompt. */
  readonly promptLength: number;
  /** First token of the subject, and the one after its last. */
  readonly subject: readonly [from: number, to: number];
  readonly object: readonly number[];
}

const utf8 = new TextEncoder();

/** @throws UsageError when the prompt has no `{}`, or the text exceeds the context window */
export async function traceText(model: Model, request: TraceRequest): Promise<TraceText> {
  const { tokenizer, dims } = model;
  const template = readTemplate(request.prompt, 'prompt', 'Write {} where the subject goes, once.');
  if (request.subject.trim() === '') throw new UsageError('subject: expected a name, found nothing.');
  const { ids, lookup } = lookupSubject(tokenizer, template, request.subject);
  checkLength('the prompt', ids.length, dims.context);
  const { ends } = tokenizer.encodeWithSpans(fill(template, request.subject));
  const begin = utf8.encode(template.before).length;
  const first = ends.findIndex((end) => end > begin);
  const object =
    request.object === undefined
      ? (await predict(model, ids, { count: 1 })).next.map(({ id }) => id)
      : tokenizer.encode(` ${request.object}`);
  checkLength('the prompt with its object', ids.length + object.length - 1, dims.context);
  return {
    ids: [...ids, ...object.slice(0, -1)],
    promptLength: ids.length,
    subject: [first, lookup + 1],
    object,
  };
}
