/** What the hub says of a model, asked through its package and believed only in its form. */
import * as v from 'valibot';
import { ModelError } from '../errors.ts';
import type { Environment } from './cache.ts';
import type { RemoteFile } from './download.ts';
import { hubEndpoint, hubToken, isCommit } from './hub-cache.ts';

/** Answers of the hub's API, which have no length that could be trusted. */
const MOST_ANSWER_BYTES = 16 * 2 ** 20;
const ANSWER_MS = 60_000;
/** Of one file: twenty times what the largest published ones have, and what a tokenizer may have. */
const MOST_BYTES = { weights: 2 ** 40, other: 64 * 2 ** 20 };
const AT_ONCE = 100;

export type Hub = Awaited<ReturnType<typeof openHub>>;

/**
 * @param ids    as from `cacheIds`
 * @param signal ends every question at once
 */
export async function openHub(ids: readonly string[], env: Environment, signal: AbortSignal | undefined) {
  const { modelInfo, pathsInfo } = await import('@huggingface/hub');
  const name = ids.find((id) => id.includes('/')) ?? (ids[0] as string);
  const token = await hubToken(env);
  const hubUrl = hubEndpoint(env);
  const fetch = boundedFetch(signal);
  const common = { hubUrl, fetch, ...(token ? { accessToken: token } : {}) };
  const headers: Readonly<Record<string, string>> = token ? { authorization: `Bearer ${token}` } : {};
  return {
    /** The id with its owner. */
    name,
    headers,
    commitOf: async (revision: string): Promise<string> => {
      const { sha } = await modelInfo({ name, revision, additionalFields: ['sha'], ...common });
      if (isCommit(String(sha))) return String(sha);
      throw untrusted(
        name,
        `the commit of ${revision}: expected 40 hexadecimal digits, found ${JSON.stringify(sha)}`,
      );
    },
    /** Those of the named files that there are. */
    files: async (revision: string, names: readonly string[]): Promise<RemoteFile[]> => {
      const found: RemoteFile[] = [];
      for (let at = 0; at < names.length; at += AT_ONCE) {
        const paths = names.slice(at, at + AT_ONCE);
        const answer = await pathsInfo({ repo: name, revision, paths: [...paths], ...common });
        found.push(...checkFiles(name, paths, answer));
      }
      return found;
    },
    url: (revision: string, path: string): string => `${hubUrl}/${name}/resolve/${revision}/${path}`,
    /** Pull requests, as revisions. */
    proposals: async (): Promise<string[]> => {
      const answer = await fetch(`${hubUrl}/api/models/${name}/refs?include_pull_requests=1`, { headers });
      const refs = v.safeParse(REFS, answer.ok ? await answer.json() : undefined);
      return refs.success ? refs.output.pullRequests.map(({ ref }) => ref) : [];
    },
  };
}

const REFS = v.object({
  pullRequests: v.array(v.object({ ref: v.pipe(v.string(), v.regex(/^refs\/pr\/\d{1,6}$/)) })),
});

const SIZE = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const FILE = v.object({
  path: v.string(),
  size: SIZE,
  oid: v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/)),
  lfs: v.optional(v.object({ oid: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)), size: SIZE })),
});

/** @throws ModelError for a hash that has not the form of one: it will be the name of a file. */
function checkFiles(model: string, names: readonly string[], answer: unknown): RemoteFile[] {
  if (!Array.isArray(answer)) throw untrusted(model, 'its list of files: expected an array');
  const wanted = answer.filter((entry: unknown) =>
    names.includes(String((entry as { path?: unknown })?.path)),
  );
  return wanted.map((entry: unknown): RemoteFile => {
    const file = v.safeParse(FILE, entry);
    const { path } = entry as { path: string };
    if (!file.success) {
      const [issue] = file.issues;
      throw untrusted(
        model,
        `${path}: ${v.getDotPath(issue) ?? ''}: expected ${issue.expected}, found ${issue.received}`,
      );
    }
    const { size, oid } = file.output.lfs ?? file.output;
    const most = path.endsWith('.safetensors') ? MOST_BYTES.weights : MOST_BYTES.other;
    if (size > most && !path.startsWith('pytorch_model'))
      throw untrusted(model, `${path}: expected at most ${most} bytes, found ${size}`);
    return { path, size, oid };
  });
}

function untrusted(model: string, what: string): ModelError {
  return new ModelError(
    `model ${model}: the hub answers with what cannot be used: ${what}. Nothing was fetched.`,
    'bad_hub',
  );
}

/** `fetch` for short answers: read whole, or refused. */
function boundedFetch(signal: AbortSignal | undefined): typeof fetch {
  return async (input, init) => {
    const patience = AbortSignal.timeout(ANSWER_MS);
    const stop = signal ? AbortSignal.any([signal, patience]) : patience;
    try {
      const response = await fetch(input, { ...init, signal: stop });
      const parts: Uint8Array[] = [];
      let bytes = 0;
      for await (const part of response.body ?? []) {
        bytes += part.length;
        if (bytes > MOST_ANSWER_BYTES)
          throw untrusted(String(input), `an answer of more than ${MOST_ANSWER_BYTES} bytes`);
        parts.push(part);
      }
      const { status, statusText, headers } = response;
      const empty = status === 204 || status === 304;
      return new Response(empty ? null : Buffer.concat(parts), { status, statusText, headers });
    } catch (error) {
      signal?.throwIfAborted();
      throw patience.aborted
        ? new TypeError('fetch failed', { cause: new Error(`no answer in ${ANSWER_MS / 1000} seconds`) })
        : error;
    }
  };
}
