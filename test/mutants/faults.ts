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
import { readMutants, type Mutant } from './list.ts';

/** The group and what is missing; the guard, and what stands in its place. */
export const FAULTS: readonly Mutant[] = readMutants(String.raw`
outputs: ^links are followed
  1: a closed pipe ends the command
    cli/main.ts: stream.on('error', $f) -> stream
  6: a FIFO or a device is replaced
    src/io/atomic.ts in writeAtomic: place.kind === 'fifo' || place.kind === 'device' -> false
  6: a link is replaced
    src/io/atomic.ts in writeAtomic: place.path -> path
  29: a full stdout is no error
    cli/main.ts: why === undefined -> true
outputs: ^lists: two at once
  2: lists without a lock
    cli/edit-list.ts: takeLock($path, $options)
      -> Promise.resolve({ check: async () => undefined, release: async () => undefined })
  22: a folder in the place of a lock
    src/io/lock.ts: !found || (found.isFile() && attempt < ATTEMPTS) -> true
  35: a prompt without {}
    src/edit/record.ts in readRecord: !request -> false
outputs: ^an output that is an input
  3: any file may be replaced
    cli/files.ts in writes: this.overwrite -> true
  4: an output may be an input
    cli/files.ts: isSame(place, input.place) -> false
  5: two outputs may be one
    cli/files.ts: isSame(output.place, other.place) -> false
  7: a run of someone else is overwritten
    cli/files.ts: resumed ? undefined : $own -> undefined
  28: places are not looked at before
    cli/files.ts: checkWritable(output) -> undefined
  33: any number of steps
    cli/flags.ts: const MOST_STEPS = $n; -> const MOST_STEPS = 1e300;
  34: a list of any name
    cli/edit-list.ts in withList: !isEditList(path) -> false
  37: --no-out is a value
    cli/flags.ts in single: typeof value === 'boolean' -> false
  38: an edit twice
    cli/edit-list.ts in readEdits: first < i -> false
generate: table of tokens|ids
  8: ids past the table of tokens
    src/models/model.ts: tokenizer.vocabularySize <= V -> true
hub-fetch: ^hashes that have not the form
  9: an oid of any form
    src/io/hub-api.ts: v.regex(/^[0-9a-f]{40}$/) -> v.regex(/./)
  9: an lfs.oid of any form
    src/io/hub-api.ts: v.regex(/^[0-9a-f]{64}$/) -> v.regex(/./)
untrusted: ^markup
  10: markup of a journal
    src/lab/report/wording.ts in escape: printableLines(text).replace($pattern, $f) -> text
terminal: ^whatever a command prints
  11: controls on the terminal
    cli/terminal.ts in write: clean(text) -> text
terminal: ^text from outside
  11: controls in a document
    src/printable.ts: $json.replace(JSON_RAW, $f) -> $json
  38: messages of any length
    src/errors.ts: printableLines(message) -> message
evaluate: ^every case is kept
  12: evaluate keeps nothing
    src/lab/evaluate.ts: options.journal?.append(result) -> undefined
record: ^an edit file is what
  13: a changed edit file
    src/edit/record-fields.ts: isSealed(file) -> true
untrusted: ^a config is compared
  14: any number of layers
    src/models/checkpoint.ts: layers > MOST_LAYERS -> false
untrusted: ^JSON: depth
  15: any depth
    src/json.ts: depth > deepest -> false
  15: any number of values
    src/json.ts: values > most -> false
untrusted: ^safetensors: headers
  16: a header of any length
    src/formats/safetensors.ts: length > MAX_HEADER_BYTES -> false
  36: any number of keys
    src/formats/safetensors-header.ts: length > MOST_METADATA -> false
tokenizer: ^other kinds of tokenizer
  17: merges that are none
    src/models/tokenizer-file.ts: at >= 0 -> false
  17: an unknown post-processor
    src/models/tokenizer-file.ts in openLibrary: refuse($where, $known, (error as Error).message) -> undefined
  18: a token of any length
    src/models/tokenizer-file.ts: token.length > LONGEST_TOKEN -> false
terminal: ^a text of megabytes
  19: long texts are measured whole
    src/printable.ts: text.length <= most -> true
untrusted: ^npz: only what is wanted
  20: a text of any size in an archive
    src/formats/npz.ts: bytes > most -> false
  21: an archive may unpack to more
    src/formats/npz.ts: start + bytes !== found.unpacked -> false
journal: ^a head and lines
  23: a journal without a schema
    src/io/journal.ts: v.safeParse(schema, json) -> ({ success: true, output: json })
  38: a changed line of a run
    src/io/journal.ts: crc === rest[count] -> true
corpus: ^a FIFO
  24: a FIFO as a corpus
    src/io/corpus-files.ts: $place.kind === 'fifo' -> false
covariance-file: ^auto
  25: a damaged file of the cache
    src/io/covariance-files.ts in unlessDamaged: !(error instanceof ModelError) -> true
outputs: ^the line: switches
  25: any number of tokens
    cli/covariance.ts: const MOST_TOKENS = $n; -> const MOST_TOKENS = 1e300;
  37: a switch takes any word for off
    cli/parse.ts: typeof args[name] !== 'boolean' || value === 'true' || value === 'false' -> true
  33: any number of contexts
    src/edit/edit.ts in checkSize: bytes <= gpu.maxBindingBytes -> true
  37: --no-color loses to FORCE_COLOR
    cli/main.ts: delete process.env['FORCE_COLOR'] -> undefined
  37: metadata in the place of what is known
    cli/covariance.ts: { ...metadata, ...$counts, file: path, bytes: size }
      -> { file: path, bytes: size, ...metadata, ...$counts }
  38: numbers that are none
    cli/edit.ts: !Number.isFinite(update.updateNorm) -> false
untrusted: ^a record that a model
  26: records are not asked before
    src/lab/evaluate.ts in checkFacts: checkProbes(model, fact) -> undefined
untrusted: ^what a file names
  27: names of a file in an object
    src/lab/texts.ts: texts.get($key) ?? []
      -> output[relationId!]?.[targetNewId!]?.flatMap((one) => one.text ?? []) ?? []
hub-fetch: ^models fetch: Ctrl-C
  30: a fetch is deaf to signals
    src/io/download.ts: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal -> silence.signal
hub-fetch: ^a file that is cut
  31: more than was promised
    src/io/download.ts: at + bytes.length > size -> false
  31: hashes are not compared
    src/io/download.ts: actual === file.oid -> true
hub-fetch: ^answers that never
  31: answers without end
    src/io/hub-api.ts: bytes > MOST_ANSWER_BYTES -> false
hub-fetch: ^two fetches
  32: fetches without a lock
    src/io/hub-fetch.ts: takeLock($path, $options)
      -> Promise.resolve({ check: async () => undefined, release: async () => undefined })
trace: ^samples of any number
  33: all samples at once
    src/lab/trace.ts: together ?? $n -> together ?? samples
untrusted: ^nothing of a file reaches the terminal
  37: U+F8FE in messages
    cli/parse.ts: value.replaceAll(HIDDEN_DASH, '-') -> value
covariance-file: ^to ROME
  38: a covariance of a layer beyond
    src/io/covariance-rome.ts: layer >= layers -> false
hub-fetch: ^a model that only
  38: a model is fetched unasked
    cli/session.ts: args.model === undefined && edit && !args.fetch -> false
hub: ^contexts of the cache
  38: changed contexts of the cache
    src/io/cache.ts: sha256 === hashOf(contexts) -> true
cli: ^a signal in any phase
  38: SIGHUP is not heard
    cli/main.ts: ['SIGINT', 'SIGTERM', 'SIGHUP'] as const -> ['SIGINT', 'SIGTERM'] as const
hub: ^our own cache
  38: caches without a HOME
    src/io/cache.ts: isAbsolute(path) -> true
`);
