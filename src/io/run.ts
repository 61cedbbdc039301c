/** A run of a research command on disk: its journal, and whether what goes on is the run that was begun. */
import { createHash } from 'node:crypto';
import { UsageError } from '../errors.ts';
import { memoryJournal } from '../lab/sequence.ts';
import { openJournal } from './journal.ts';
import type { Journal, JournalOptions } from './journal.ts';

type Settings = Readonly<Record<string, unknown>>;

interface RunHead {
  readonly settings: Settings;
}

/** What a line says of its fact. */
interface RunLine {
  readonly subject: string;
  readonly target_new: string;
}

interface RunFact {
  readonly subject: string;
  readonly targetNew: string;
}

/** A run whose journal is open; its settings are known once the model is. */
export interface OpenRun<Head extends RunHead, Line> extends Journal<Head, Line> {
  /** @throws UsageError for other settings than those it was begun with, or other facts than those of its lines, a line a fact */
  readonly check: (settings: Settings, facts?: readonly RunFact[]) => void;
}

/** @throws as `openJournal` */
export async function openRun<Head extends RunHead, Line>(
  folder: string,
  options: JournalOptions,
): Promise<OpenRun<Head, Line>> {
  const journal = await openJournal<Head, Line>(folder, options);
  return {
    ...journal,
    get head() {
      return journal.head;
    },
    check: (settings, facts) => {
      if (journal.head) sameSettings(journal.head.settings, settings, folder);
      if (facts) sameFacts(journal.lines as readonly unknown[] as readonly RunLine[], facts, folder);
    },
  };
}

/** A run that nothing outlives: without a folder. */
export function memoryRun<Head extends RunHead, Line>(): OpenRun<Head, Line> {
  const memory = memoryJournal<Head, Line>();
  return Object.assign(memory, { close: () => Promise.resolve(), check: () => undefined });
}

/** @throws UsageError naming the first setting that differs, and both values */
function sameSettings(stored: Settings, given: Settings, folder: string): void {
  // As JSON has them: undefined members fall away.
  const now = JSON.parse(JSON.stringify(given)) as Settings;
  for (const name of new Set([...Object.keys(stored), ...Object.keys(now)])) {
    const [was, is] = [JSON.stringify(stored[name]), JSON.stringify(now[name])];
    if (was === is) continue;
    throw new UsageError(
      `${folder}: this run was begun with ${name} ${cut(was)}, but now it is ${cut(is)}. ` +
        'Its numbers would not be those of an unbroken run: give the same settings, or another --out.',
      'other_run',
    );
  }
}

function cut(value = 'none'): string {
  return value.length > 80 ? `${value.slice(0, 80)}…` : value;
}

/** @throws UsageError when the lines of a run are of other facts */
function sameFacts(lines: readonly RunLine[], facts: readonly RunFact[], folder: string): void {
  lines.forEach(({ subject, target_new }, i) => {
    const fact = facts[i];
    if (fact && fact.subject === subject && fact.targetNew === target_new) return;
    const found = fact ? `"${fact.subject}" → "${fact.targetNew}"` : `only ${facts.length} records`;
    throw new UsageError(
      `${folder}: line ${i + 1} of this run is "${subject}" → "${target_new}", but the data holds ${found}. Give the run's own data, or another --out.`,
      'other_run',
    );
  });
}

/** Of texts that are too long for a settings file. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
