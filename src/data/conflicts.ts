/** Facts that cannot all be written: the same prompt asked to say two things, or a fact that is there twice. */
import { UsageError } from '../errors.ts';
import type { Fact } from './fact.ts';

/** `refuse`: contradictions are an error. `last`: of facts that contradict each other the last one is written. */
export type OnConflict = 'refuse' | 'last';

export interface Settled {
  readonly facts: Fact[];
  /** Facts left out because another says the same, or the opposite later on. */
  readonly duplicates: number;
  readonly overruled: number;
}

/** Contradictions that a message lists. */
const LISTED = 3;

/**
 * @param name of the file, for messages
 * @throws UsageError listing facts that contradict each other, under `refuse`
 */
export function settleFacts(facts: readonly Fact[], name: string, onConflict: OnConflict): Settled {
  const groups = new Map<string, { fact: Fact; place: number }[]>();
  for (const [place, fact] of facts.entries()) {
    const text = fact.prompt.replace('{}', () => fact.subject);
    groups.set(text, [...(groups.get(text) ?? []), { fact, place }]);
  }
  const contradicting = [...groups].filter(([, same]) =>
    same.some(({ fact }) => fact.targetNew !== same[0]?.fact.targetNew),
  );
  if (contradicting.length > 0 && onConflict === 'refuse') {
    const shown = contradicting
      .slice(0, LISTED)
      .map(
        ([text, same]) =>
          `"${text}" → ${same.map(({ fact, place }) => `"${fact.targetNew}" (fact ${place + 1})`).join(' and ')}`,
      );
    const more = contradicting.length > LISTED ? `, and ${contradicting.length - LISTED} more` : '';
    throw new UsageError(
      `${name}: expected facts that can all be true, found ${contradicting.length} prompts with several targets: ${shown.join('; ')}${more}. ` +
        'Take one of each out, or write the last of each with --conflicts last.',
      'contradiction',
    );
  }
  const places = [...groups.values()].flatMap((same) => same.at(-1)?.place ?? []).sort((a, b) => a - b);
  const overruled = contradicting.reduce(
    (sum, [, same]) => sum + same.filter(({ fact }) => fact.targetNew !== same.at(-1)?.fact.targetNew).length,
    0,
  );
  return {
    facts: places.map((place) => facts[place] as Fact),
    duplicates: facts.length - places.length - overruled,
    overruled,
  };
}
