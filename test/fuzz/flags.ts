/** Command lines made wrong, and what a line says that may be written. */
import type { Case } from './cases.ts';
import { HOSTILE } from './mutate.ts';
import type { Choice } from './random.ts';

const words = (line: string): string[] => line.split(' ');
const FLAGS = [
  ...words(
    '--out --dump --list --trace-file --model --edits --covariance --contexts --check --data --facts --held-out',
  ),
  ...words(
    '--layer --layers --steps --tokens --top --top-k --seed --count --from --every --samples --clamp --batch',
  ),
  ...words(
    '--learning-rate --kl-factor --weight-decay --method --on-collapse --weights --shard --references --format',
  ),
  ...words(
    '--dtype --stop --stop-after --anchor-norm --conflicts --memory --epsilon --ridge --norm-weight --revision',
  ),
  ...words(
    '--covariance-weight --null-space-threshold --text-tokens --adapter --save-every --chat --fetch --compare',
  ),
  ...words(
    '--offline --quiet --verbose --no-color --no-check --no-freeze --restart --resume --trace --unknown',
  ),
  ...words('--no-out --no-model --json=maybe --json=true --help --version -- -x --overwrite'),
];
const OUTPUTS = ['--out', '--dump', '--list', '--trace-file'];
const VALUES = [
  ...['', ' ', HOSTILE.replaceAll('\0', ''), 'x'.repeat(50_000)],
  ...words('-1 0 1 2 1e15 1e999 NaN 0x10 true false {} [] * - --'),
  ...words('../out-of-here /dev/null /dev/full /proc/self/mem . tmp nowhere/at/all'),
  ...words('identity auto rome all memit alphaedit 0,1 1,0 0,0 99 measure last peft'),
  ...words(
    'a.safetensors edits.json c.safetensors facts.json model model/config.json model/model.safetensors',
  ),
  ...words('run contexts.json rome.npz'),
];

/** Flags and words added, doubled, left out, given other values. */
export function flagged(c: Choice, args: readonly string[], one: Case): string[] {
  const out = [...args];
  for (let times = 1 + c.below(2); times > 0; times -= 1) {
    const at = 1 + c.below(out.length);
    const named = out.findIndex((word) => OUTPUTS.includes(word)) + 1;
    const kind = c.below(7);
    if (kind === 0) out.splice(at, 0, c.of(FLAGS), c.of(VALUES));
    else if (kind === 1) out.splice(at, 0, c.of(FLAGS));
    else if (kind === 2) out.splice(at, 1, c.of(VALUES));
    else if (kind === 3) out.splice(at, 1);
    else if (kind === 4) out.splice(at, 0, c.of([...one.reads, ...VALUES]));
    else {
      // Most of all an output that is an input, which nothing may replace.
      const place = c.of(one.reads.length === 0 || c.once(3) ? VALUES : one.reads);
      if (named > 0 && !c.once(3)) out[named] = place;
      else out.push(c.of(OUTPUTS), place); // behind all words: no flag is parted from its value
      if (c.once(2)) out.push('--overwrite');
    }
  }
  return out;
}

/** What flags name as a place to write to, where nothing lies yet: what is there already may not change. */
export function namedOutputs(args: readonly string[], one: Case): string[] {
  const named = args.flatMap((word, i) => {
    const [, flag = '', value] = /^--(out|dump|list|trace-file)(?:=(.*))?$/s.exec(word) ?? [];
    return flag === '' ? [] : [value ?? args[i + 1] ?? ''];
  });
  const command = args[0];
  const usual = {
    sequence: 'sequence',
    apply: 'edits.json',
    revert: 'edits.json',
    paper: 'paper',
    trace: 'trace',
    merge: 'merged.safetensors',
    import: 'imported',
  };
  const more = command === 'export' ? args.slice(1) : [usual[command as keyof typeof usual] ?? ''];
  const npz = args
    .filter((word) => word.endsWith('.safetensors'))
    .map((word) => word.replace(/safetensors$/, 'npz'));
  const own = one.reads.filter((path) => !one.outputs.includes(path));
  const runs = named.map((path) => `${path}.run`); // of edit --facts
  return [...named, ...runs, ...more, ...npz].filter(
    (path) =>
      path !== '' && path.length < 200 && !own.includes(path) && !['.', 'scratch', 'model'].includes(path),
  );
}
