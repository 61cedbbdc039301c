/** The edit that benchmarks make: one request in 21 contexts, as many tokens as sampled ones have. */
import type { EditRequest } from '../../edit/request.ts';

export const BENCH_REQUEST: EditRequest = {
  prompt: 'The mother tongue of {} is',
  subject: 'Danielle Darrieux',
  target: 'English',
};

/** The bare prompt, ten beginnings of 4 tokens and ten of 9: what is sampled when nobody hands contexts in. */
export const BENCH_CONTEXTS: readonly string[] = [
  '{}',
  ...[
    'The river runs fast',
    'A long road north',
    'In the old city',
    'She was born there',
    'One of many others',
  ].map((text) => `${text}. {}`),
  ...['It is said again', 'The old town is', 'He came back home', 'Two years later he', 'As we know it'].map(
    (text) => `${text}. {}`,
  ),
  ...[
    'The first of them was built in the north',
    'He was one of those who came back home',
    'It was one of the largest in the state',
    'The school is in the south of the county',
    'He played for the club until the next year',
    'The film was made in a very short time',
    'She has two sons and lives in the city',
    'There are three rivers that meet in the town',
    'The line was opened at the end of the war',
    'In the same year the house was sold again',
  ].map((text) => `${text}. {}`),
];

/** Contexts of about `tokens` tokens each, `count` of them, the bare prompt first. */
export function contextsOfLength(tokens: number, count: number): string[] {
  const words = ' and the other one'
    .repeat(Math.ceil(tokens / 4))
    .split(' ')
    .slice(1, tokens + 1);
  const text = words.join(' ');
  return ['{}', ...Array.from({ length: count - 1 }, () => `${text}. {}`)];
}
