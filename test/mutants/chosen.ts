/** For the copies that mutants are made in: a suite that keeps the tests whose name fits PALIMPSEST_ONLY. */
import process from 'node:process';
import type { Test } from 'uvu';

const wanted = new RegExp(process.env['PALIMPSEST_ONLY'] ?? '');

export function chosen<T>(suite: Test<T>): Test<T> {
  const add = ((name: string, work: Parameters<Test<T>>[1]) => {
    if (wanted.test(name)) suite(name, work);
  }) as Test<T>;
  return Object.assign(add, {
    only: suite.only,
    skip: suite.skip,
    before: suite.before,
    after: suite.after,
    run: suite.run,
  });
}
