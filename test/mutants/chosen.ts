/** Suites that take their tests in otherwise: for the copies that mutants are made in, those that PALIMPSEST_ONLY names. */
import process from 'node:process';
import type { Test } from 'uvu';

type Work<T> = Parameters<Test<T>>[1];

/** A suite to which tests come by `add`; all else is that of `suite`. */
export function adding<T>(suite: Test<T>, add: (name: string, work: Work<T>) => void): Test<T> {
  const { only, skip, before, after, run } = suite;
  return Object.assign(add as Test<T>, { only, skip, before, after, run });
}

const wanted = new RegExp(process.env['PALIMPSEST_ONLY'] ?? '');

export function chosen<T>(suite: Test<T>): Test<T> {
  return adding(suite, (name, work) => {
    if (wanted.test(name)) suite(name, work);
  });
}
