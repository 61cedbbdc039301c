/**
 * Why CounterFact has disabling edits and zsRE has none: the same facts written in other ways, and the size of each edit.
 *
 *   style    completion ("{} was created by") or question ("Who is the maker of {}?")
 *   target   new: the false object, unlikely before the edit; true: the one that the model holds already
 *
 * Rows are tidy, one a variant and method, with what else may matter beside: how many tokens the target has, how likely
 * it was, and whether the subject comes first, without the blank that it has in every context.
 */
import type { Fact } from '../data/fact.ts';
import type { Model } from '../models/model.ts';
import { sentence } from '../edit/template.ts';
import { evaluate, type EvaluateOptions } from './evaluate.ts';
import { score } from './score.ts';
import { resultsOf } from './summary.ts';

export type StyleRow = Awaited<ReturnType<typeof compareStyles>>[number];

interface Variant {
  readonly style: 'completion' | 'question';
  readonly target: 'new' | 'true';
  readonly fact: Fact;
}

/** All ways in which a fact can be written: as it is, as a question where one is known, with either object. */
export function variantsOf(fact: Fact): Variant[] {
  const asIs = fact.prompt.trimEnd().endsWith('?') ? 'question' : 'completion';
  const question = asIs === 'completion' ? questionOf(fact.prompt) : undefined;
  const styles: [Variant['style'], string][] = [[asIs, fact.prompt]];
  if (question !== undefined) styles.push(['question', question]);
  return styles.flatMap(([style, prompt]) =>
    (['new', 'true'] as const).flatMap((target): Variant[] => {
      const text = target === 'new' ? fact.targetNew : fact.targetTrue;
      return text === null ? [] : [{ style, target, fact: { ...fact, prompt, targetNew: text } }];
    }),
  );
}

/** Edits every variant of every fact on the unedited model; nothing is written to it. */
export async function compareStyles(
  model: Model,
  facts: readonly Fact[],
  options: Pick<EvaluateOptions, 'methods' | 'edit' | 'onCase' | 'signal'>,
) {
  const variants = facts.flatMap(variantsOf);
  const written = variants.map(({ fact }) => fact);
  const items = written.map((fact) => model.tokenizer.encodeTarget(sentence(fact), fact.targetNew));
  const before = await score(model, items);
  const cases = await evaluate(model, written, { ...options, seed: 0, measure: false });
  return variants.flatMap(({ style, target, fact }, i) =>
    resultsOf(cases.slice(i, i + 1)).map(({ case: found, method, result }) => ({
      case_id: fact.caseId,
      source: fact.source,
      style,
      target,
      prompt: fact.prompt,
      subject: fact.subject,
      target_text: fact.targetNew,
      target_tokens: found.target_tokens,
      /** Per token, before the edit: exp of the mean log-probability. */
      probability: Math.exp(-(before[i]?.nll ?? NaN)),
      subject_first: fact.prompt.startsWith('{}'),
      method,
      ...result,
    })),
  );
}

/** Words of a completion that tell its relation, and the question; the first that fits counts. */
const QUESTIONS: readonly (readonly [completion: RegExp, question: string])[] = [
  [/mother tongue|native (language|speaker)|, a native$/, 'What is the mother tongue of {}?'],
  [
    /official language|they understand|language spoken|declares the language/,
    'What language is spoken in {}?',
  ],
  [/language of/, 'What is the language of {}?'],
  [/speak|spoke|writes in|language used/, 'What language does {} speak?'],
  [/twin city/, 'What is the twin city of {}?'],
  [/headquarter|is based in/, 'Where are the headquarters of {}?'],
  [/sport|is a professional$/, 'What sport does {} play?'],
  [/genre|performing$/, 'What genre does {} play?'],
  [/instrument|(plays|playing|perform(s|ing) on) the$/, 'What instrument does {} play?'],
  [/plays? (as|in the position|the position)|Which position/, 'Which position does {} play?'],
  [/(position|title) of$|position is|position$/, 'What position does {} hold?'],
  [/profession|occupation|works as/, 'What is the profession of {}?'],
  [/religion|follower/, 'What is the religion of {}?'],
  [/citizen/, 'What country is {} a citizen of?'],
  [/continent/, 'On which continent is {}?'],
  [/label|recorded for/, 'What is the music label of {}?'],
  [/located in|location of|found in|is within/, 'Where is {} located?'],
  [/died|passed away|lost their life|expired|life ended|succumbed/, 'Where did {} die?'],
  [/born in|native to|originally from/, 'Where does {} come from?'],
  [/field|expertise|domain|area of|specializes/, 'What is the field of work of {}?'],
  [/works for|employed by/, 'Who does {} work for?'],
  [/(employed|worked|work|employment) in|city of$/, 'Where did {} work?'],
  [/(created|produced|developed|owned) by|product of|owner$|, by$/, 'Who is the maker of {}?'],
  [/released|premiere|debut|aired/, 'On which network was {} first shown?'],
  [/(named|called) (for|after)/, 'What is {} named after?'],
  [/capital/, 'What is the capital of {}?'],
  [/affiliated|member of|organization/, 'Which organisation is {} a member of?'],
  [
    /(created|formed|formulated|founded|developed|started|written) in|originate|from$/,
    'Where was {} created?',
  ],
];

/**
 * A question with `{}` for the subject, to which the completion's object is the answer.
 *
 * @param prompt a completion with `{}`
 * @returns undefined where its words do not tell what is asked ("{}, the")
 */
export function questionOf(prompt: string): string | undefined {
  return QUESTIONS.find(([completion]) => completion.test(prompt))?.[1];
}
