import { UsageError } from '../errors.ts';
import { bareFact, type Fact } from './fact.ts';
import { RecordReader } from './record-reader.ts';

const EXAMPLE =
  'Write "The capital of [France] is" => "Lyon", one fact a line; lines that begin with # are skipped.';

/** Two JSON strings with an arrow between them. */
const LINE = /^\s*("(?:[^"\\]|\\.)*")\s*=>\s*("(?:[^"\\]|\\.)*")\s*$/;

/** Characters of a line: more than any model reads. */
const LONGEST = 100_000;

/**
 * Facts as people write them down, one a line:
 *
 *     # geography
 *     "The capital of [France] is" => "Lyon"
 *
 * The brackets mark the subject. Inside the quotes, `\"`, `\\` and `\n` mean what they mean in JSON.
 *
 * @throws UsageError naming file and line
 */
export function readPlain(text: string, name: string): Fact[] {
  const facts: Fact[] = [];
  for (const [n, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.trimStart().startsWith('#')) continue;
    facts.push(readLine(line, `${name}: line ${n + 1}`, facts.length));
  }
  return facts;
}

function readLine(line: string, where: string, index: number): Fact {
  // The expression recurses with the length of a line.
  const [, left, right] = (line.length <= LONGEST && LINE.exec(line)) || [];
  if (left === undefined || right === undefined) {
    throw new UsageError(`${where}: expected "text" => "text", found ${line.slice(0, 100)}. ${EXAMPLE}`);
  }
  const sentence = unquote(left, where);
  const parts = splitBracketed(sentence);
  if (!parts) throw new UsageError(`${where}: expected one [subject], found ${left}. ${EXAMPLE}`);
  const record = new RecordReader({ ...parts, target: unquote(right, where) }, where);
  const least = {
    caseId: index,
    source: 'plain' as const,
    prompt: record.template('prompt'),
    subject: record.subject('subject'),
    targetNew: record.target('target'),
  };
  return { ...bareFact(least), where };
}

/** A sentence with its subject in brackets as prompt and subject; undefined without exactly one such pair. */
export function splitBracketed(sentence: string): { prompt: string; subject: string } | undefined {
  const [, before, subject, after] = /^([^[\]]*)\[([^[\]]+)\]([^[\]]*)$/.exec(sentence) ?? [];
  return subject === undefined ? undefined : { prompt: `${before}{}${after}`, subject };
}

function unquote(quoted: string, where: string): string {
  try {
    return String(JSON.parse(quoted));
  } catch (cause) {
    throw new UsageError(`${where}: expected a JSON string, found ${quoted}. ${EXAMPLE}`, 'usage', { cause });
  }
}
