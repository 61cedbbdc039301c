/** What stands in the README between fences. */
import { readFileSync } from 'node:fs';

const text = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

/** The blocks of one language; of those without one for `''`. */
export function fenced(language: string): string[] {
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].flatMap(([, of, body = '']) =>
    of === language ? [body] : [],
  );
}
