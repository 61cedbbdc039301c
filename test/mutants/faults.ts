/**
 * The 38 groups of faults that were found when every command was tried with about 700 bad inputs, each with the guard
 * that was put in against it, taken out here, and the test that must fail then. So this is the table of which test holds
 * which group, and it is run, not believed:
 *
 *   node --import tsx test/mutants.test.ts faults [3: 4: ...]   all of them, or those of some groups
 *
 * Not part of the suite, but for this: that every guard is where it is said to be. Most of these tests start processes.
 * Of groups 1, 4 to 7, 13, 14, 22, 34, 37 and 38 the fault was also seen on the program as it was before.
 */
import type { Mutant } from './list.ts';

interface At {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly within?: string;
}

function guard(name: string, test: string, only: RegExp, ...[file, from, to, within]: string[]): Mutant {
  const at = { file, from, to } as At;
  return { name, test, only, ...at, ...(within === undefined ? {} : { within }) };
}

const NO_LOCK = 'Promise.resolve({ check: async () => undefined, release: async () => undefined })';
const OUTPUTS = /^an output that is an input/;
const STREAMS = /^links are followed/;
const LINE = /^the line: switches/;
const LISTS = /^lists: two at once/;
const HASHES = /^hashes that have not the form/;
const CONFIG = /^a config is compared/;
const HEADERS = /^safetensors: headers/;
const ARCHIVE = /^npz: only what is wanted/;
const TOKENIZER = /^other kinds of tokenizer/;
const TERMINAL = /^nothing of a file reaches the terminal/;

/** Group, what is missing; test; file, the guard, what stands in its place. */
export const FAULTS: readonly Mutant[] = [
  guard(
    '1: a closed pipe ends the command',
    'outputs',
    STREAMS,
    'cli/main.ts',
    "stream.on('error', $f)",
    'stream',
  ),
  guard(
    '2: lists without a lock',
    'outputs',
    LISTS,
    'cli/edit-list.ts',
    'takeLock($path, $options)',
    NO_LOCK,
  ),
  guard(
    '3: any file may be replaced',
    'outputs',
    OUTPUTS,
    'cli/files.ts',
    'this.overwrite',
    'true',
    'writes',
  ),
  guard(
    ...(['4: an output may be an input', 'outputs', OUTPUTS, 'cli/files.ts'] as const),
    ...['isSame(place, input.place)', 'false'],
  ),
  guard(
    ...(['5: two outputs may be one', 'outputs', OUTPUTS, 'cli/files.ts'] as const),
    ...['isSame(output.place, other.place)', 'false'],
  ),
  guard(
    ...(['6: a FIFO or a device is replaced', 'outputs', STREAMS, 'src/io/atomic.ts'] as const),
    ...["place.kind === 'fifo' || place.kind === 'device'", 'false', 'writeAtomic'],
  ),
  guard('6: a link is replaced', 'outputs', STREAMS, 'src/io/atomic.ts', 'place.path', 'path', 'writeAtomic'),
  guard(
    ...(['7: a run of someone else is overwritten', 'outputs', OUTPUTS, 'cli/files.ts'] as const),
    ...['resumed ? undefined : $own', 'undefined'],
  ),
  guard(
    ...([
      '8: ids past the table of tokens',
      'generate',
      /table of tokens|ids/,
      'src/models/model.ts',
    ] as const),
    ...['tokenizer.vocabularySize <= V', 'true'],
  ),
  guard(
    ...(['9: an oid of any form', 'hub-fetch', HASHES, 'src/io/hub-api.ts'] as const),
    ...['v.regex(/^[0-9a-f]{40}$/)', 'v.regex(/./)'],
  ),
  guard(
    ...(['9: an lfs.oid of any form', 'hub-fetch', HASHES, 'src/io/hub-api.ts'] as const),
    ...['v.regex(/^[0-9a-f]{64}$/)', 'v.regex(/./)'],
  ),
  guard(
    ...(['10: markup of a journal', 'untrusted', /^markup/, 'src/lab/report/wording.ts'] as const),
    ...['printableLines(text).replace($pattern, $f)', 'text', 'escape'],
  ),
  guard(
    '11: controls on the terminal',
    'terminal',
    /^whatever a command prints/,
    'cli/terminal.ts',
    'clean(text)',
    'text',
    'write',
  ),
  guard(
    ...(['11: controls in a document', 'terminal', /^text from outside/, 'src/printable.ts'] as const),
    ...['$json.replace(JSON_RAW, $f)', '$json'],
  ),
  guard(
    ...(['12: evaluate keeps nothing', 'evaluate', /^every case is kept/, 'src/lab/evaluate.ts'] as const),
    ...['options.journal?.append(result)', 'undefined'],
  ),
  guard(
    ...(['13: a changed edit file', 'record', /^an edit file is what/, 'src/edit/record-fields.ts'] as const),
    ...['isSealed(file)', 'true'],
  ),
  guard(
    '14: any number of layers',
    'untrusted',
    CONFIG,
    'src/models/checkpoint.ts',
    'layers > MOST_LAYERS',
    'false',
  ),
  guard('15: any depth', 'untrusted', /^JSON: depth/, 'src/json.ts', 'depth > deepest', 'false'),
  guard('15: any number of values', 'untrusted', /^JSON: depth/, 'src/json.ts', 'values > most', 'false'),
  guard(
    ...(['16: a header of any length', 'untrusted', HEADERS, 'src/formats/safetensors.ts'] as const),
    ...['length > MAX_HEADER_BYTES', 'false'],
  ),
  guard(
    '17: merges that are none',
    'tokenizer',
    TOKENIZER,
    'src/models/tokenizer-file.ts',
    'at >= 0',
    'false',
  ),
  guard(
    ...(['17: an unknown post-processor', 'tokenizer', TOKENIZER, 'src/models/tokenizer-file.ts'] as const),
    ...['refuse($where, $known, (error as Error).message)', 'undefined', 'openLibrary'],
  ),
  guard(
    ...(['18: a token of any length', 'tokenizer', TOKENIZER, 'src/models/tokenizer-file.ts'] as const),
    ...['token.length > LONGEST_TOKEN', 'false'],
  ),
  guard(
    ...([
      '19: long texts are measured whole',
      'terminal',
      /^a text of megabytes/,
      'src/printable.ts',
    ] as const),
    ...['text.length <= most', 'true'],
  ),
  guard(
    '20: a text of any size in an archive',
    'untrusted',
    ARCHIVE,
    'src/formats/npz.ts',
    'bytes > most',
    'false',
  ),
  guard(
    ...(['21: an archive may unpack to more', 'untrusted', ARCHIVE, 'src/formats/npz.ts'] as const),
    ...['start + bytes !== found.unpacked', 'false'],
  ),
  guard(
    ...(['22: a folder in the place of a lock', 'outputs', LISTS, 'src/io/lock.ts'] as const),
    ...['!found || (found.isFile() && attempt < ATTEMPTS)', 'true'],
  ),
  guard(
    ...(['23: a journal without a schema', 'journal', /^a head and lines/, 'src/io/journal.ts'] as const),
    ...['v.safeParse(schema, json)', '({ success: true, output: json })'],
  ),
  guard(
    '24: a FIFO as a corpus',
    'corpus',
    /^a FIFO/,
    'src/io/corpus-files.ts',
    "$place.kind === 'fifo'",
    'false',
  ),
  guard(
    ...([
      '25: a damaged file of the cache',
      'covariance-file',
      /^auto/,
      'src/io/covariance-files.ts',
    ] as const),
    ...['!(error instanceof ModelError)', 'true', 'unlessDamaged'],
  ),
  guard(
    '25: any number of tokens',
    'outputs',
    LINE,
    'cli/covariance.ts',
    'const MOST_TOKENS = $n;',
    'const MOST_TOKENS = 1e300;',
  ),
  guard(
    ...([
      '26: records are not asked before',
      'untrusted',
      /^a record that a model/,
      'src/lab/evaluate.ts',
    ] as const),
    ...['checkProbes(model, fact)', 'undefined', 'checkFacts'],
  ),
  guard(
    ...(['27: names of a file in an object', 'untrusted', /^what a file names/, 'src/lab/texts.ts'] as const),
    ...[
      'texts.get($key) ?? []',
      'output[relationId!]?.[targetNewId!]?.flatMap((one) => one.text ?? []) ?? []',
    ],
  ),
  guard(
    ...(['28: places are not looked at before', 'outputs', OUTPUTS, 'cli/files.ts'] as const),
    ...['checkWritable(output)', 'undefined'],
  ),
  guard('29: a full stdout is no error', 'outputs', STREAMS, 'cli/main.ts', 'why === undefined', 'true'),
  guard(
    ...([
      '30: a fetch is deaf to signals',
      'hub-fetch',
      /^models fetch: Ctrl-C/,
      'src/io/download.ts',
    ] as const),
    ...['signal ? AbortSignal.any([signal, silence.signal]) : silence.signal', 'silence.signal'],
  ),
  guard(
    ...(['31: more than was promised', 'hub-fetch', /^a file that is cut/, 'src/io/download.ts'] as const),
    ...['at + bytes.length > size', 'false'],
  ),
  guard(
    ...(['31: hashes are not compared', 'hub-fetch', /^a file that is cut/, 'src/io/download.ts'] as const),
    ...['actual === file.oid', 'true'],
  ),
  guard(
    ...(['31: answers without end', 'hub-fetch', /^answers that never/, 'src/io/hub-api.ts'] as const),
    ...['bytes > MOST_ANSWER_BYTES', 'false'],
  ),
  guard(
    ...(['32: fetches without a lock', 'hub-fetch', /^two fetches/, 'src/io/hub-fetch.ts'] as const),
    ...['takeLock($path, $options)', NO_LOCK],
  ),
  guard(
    '33: any number of steps',
    'outputs',
    OUTPUTS,
    'cli/flags.ts',
    'const MOST_STEPS = $n;',
    'const MOST_STEPS = 1e300;',
  ),
  guard(
    '34: a list of any name',
    'outputs',
    OUTPUTS,
    'cli/edit-list.ts',
    '!isEditList(path)',
    'false',
    'withList',
  ),
  guard(
    ...(['36: any number of keys', 'untrusted', HEADERS, 'src/formats/safetensors-header.ts'] as const),
    ...['length > MOST_METADATA', 'false'],
  ),
  guard(
    ...(['37: a switch takes any word for off', 'outputs', LINE, 'cli/parse.ts'] as const),
    ...["typeof args[name] !== 'boolean' || value === 'true' || value === 'false'", 'true'],
  ),
  guard(
    ...(['33: any number of contexts', 'outputs', LINE, 'src/edit/edit.ts'] as const),
    ...['bytes <= gpu.maxBindingBytes', 'true', 'checkSize'],
  ),
  guard(
    ...(['33: all samples at once', 'trace', /^samples of any number/, 'src/lab/trace.ts'] as const),
    ...['together ?? $n', 'together ?? samples'],
  ),
  guard('35: a prompt without {}', 'outputs', LISTS, 'src/edit/record.ts', '!request', 'false', 'readRecord'),
  guard(
    '37: --no-out is a value',
    'outputs',
    OUTPUTS,
    'cli/flags.ts',
    "typeof value === 'boolean'",
    'false',
    'single',
  ),
  guard(
    ...(['37: --no-color loses to FORCE_COLOR', 'outputs', LINE, 'cli/main.ts'] as const),
    ...["delete process.env['FORCE_COLOR']", 'undefined'],
  ),
  guard(
    '37: U+F8FE in messages',
    'untrusted',
    TERMINAL,
    'cli/parse.ts',
    "value.replaceAll(HIDDEN_DASH, '-')",
    'value',
  ),
  guard(
    ...(['37: metadata in the place of what is known', 'outputs', LINE, 'cli/covariance.ts'] as const),
    ...[
      '{ ...metadata, ...$counts, file: path, bytes: size }',
      '{ file: path, bytes: size, ...metadata, ...$counts }',
    ],
  ),
  guard(
    ...(['38: numbers that are none', 'outputs', LINE, 'cli/edit.ts'] as const),
    ...['!Number.isFinite(update.updateNorm)', 'false'],
  ),
  guard(
    ...([
      '38: a covariance of a layer beyond',
      'covariance-file',
      /^to ROME/,
      'src/io/covariance-rome.ts',
    ] as const),
    ...['layer >= layers', 'false'],
  ),
  guard('38: an edit twice', 'outputs', OUTPUTS, 'cli/edit-list.ts', 'first < i', 'false', 'readEdits'),
  guard(
    ...(['38: a model is fetched unasked', 'hub-fetch', /^a model that only/, 'cli/session.ts'] as const),
    ...['args.model === undefined && edit && !args.fetch', 'false'],
  ),
  guard(
    ...(['38: changed contexts of the cache', 'hub', /^contexts of the cache/, 'src/io/cache.ts'] as const),
    ...['sha256 === hashOf(contexts)', 'true'],
  ),
  guard(
    ...(['38: a changed line of a run', 'journal', /^a head and lines/, 'src/io/journal.ts'] as const),
    ...['crc === rest[count]', 'true'],
  ),
  guard(
    ...(['38: messages of any length', 'terminal', /^text from outside/, 'src/errors.ts'] as const),
    ...['printableLines(message)', 'message'],
  ),
  guard(
    ...(['38: SIGHUP is not heard', 'cli', /^a signal in any phase/, 'cli/main.ts'] as const),
    ...["['SIGINT', 'SIGTERM', 'SIGHUP'] as const", "['SIGINT', 'SIGTERM'] as const"],
  ),
  guard('38: caches without a HOME', 'hub', /^our own cache/, 'src/io/cache.ts', 'isAbsolute(path)', 'true'),
];
