/** `npm run demo`: one CounterFact fact, edited in the bundled model with all three methods. */
import process from 'node:process';

const words = ['edit', 'The mother tongue of [Danielle Darrieux] is', 'English', '--method', 'all'];
const shown = words.map((word) => (word.includes(' ') ? JSON.stringify(word) : word));
process.stderr.write(`$ palimpsest ${shown.join(' ')}\n`);

// The demo is the command that it prints, and nothing else.
process.argv.splice(2, 0, ...words);
await import('./main.ts');
