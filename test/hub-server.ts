/** A hub of one model `x/y` on this machine, that can be made to lie, to stop in the middle and to never end. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const COMMIT = 'a'.repeat(40);

export interface FakeHub {
  readonly env: Record<string, string>;
  /** Method, path without query, authorisation. */
  readonly requests: string[];
  files: Record<string, string | Buffer>;
  /** Of other revisions: pull requests. */
  readonly revisions: Record<string, Record<string, string>>;
  /** What the hub claims the SHA-256 of the weights is; undefined: the truth. */
  oid: string | undefined;
  /** Takes the place of what the hub says of a file. */
  readonly claims: Record<string, object>;
  status: number;
  /** Sends a file in its own way; true when it did. */
  send?: ((name: string, bytes: Buffer, response: ServerResponse, from: number) => boolean) | undefined;
  /** Takes the place of the commit's answer. */
  commit?: ((response: ServerResponse) => void) | undefined;
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const gitBlob = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

/** Answers the requests that a fetch makes; downloads may begin anywhere. */
export async function withHub(cache: string, use: (hub: FakeHub) => Promise<unknown>): Promise<void> {
  const files = { 'config.json': '{}', 'tokenizer.json': '{"t":1}', 'model.safetensors': 'weights' };
  const hub: FakeHub = {
    env: {},
    requests: [],
    files,
    revisions: {},
    oid: undefined,
    claims: {},
    status: 200,
  };
  const infoOf = (path: string, bytes: Buffer): object => ({
    path,
    type: 'file',
    size: bytes.length,
    oid: gitBlob(bytes),
    ...(path.endsWith('.safetensors')
      ? { lfs: { oid: hub.oid ?? sha256(bytes), size: bytes.length, pointerSize: 1 } }
      : {}),
    ...hub.claims[path],
  });
  const server = createServer((request, response) => {
    const url = decodeURIComponent((request.url ?? '').split('?')[0] ?? '');
    hub.requests.push(`${request.method} ${url} ${request.headers.authorization ?? ''}`.trim());
    const json = (value: unknown): void => {
      response.writeHead(hub.status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const revision = Object.keys(hub.revisions).find((name) => url.endsWith(`/paths-info/${name}`));
      const all = Object.entries(revision ? (hub.revisions[revision] ?? {}) : hub.files);
      const file = hub.files[url.split('/').at(-1) ?? ''];
      if (hub.status !== 200) json({ error: 'no' });
      else if (url === '/api/models/x/y/refs')
        json({ pullRequests: Object.keys(hub.revisions).map((ref) => ({ name: ref, ref })) });
      else if (url.startsWith('/api/models/x/y/revision/'))
        if (hub.commit) hub.commit(response);
        else json({ _id: '1', id: 'x/y', sha: COMMIT, lastModified: 0 });
      else if (url.startsWith('/api/models/x/y/paths-info/')) {
        const wanted = (JSON.parse(body) as { paths: string[] }).paths;
        json(
          all
            .filter(([path]) => wanted.includes(path))
            .map(([path, text]) => infoOf(path, Buffer.from(text))),
        );
      } else if (url.startsWith(`/x/y/resolve/${COMMIT}/`) && file !== undefined) {
        const bytes = Buffer.from(file);
        const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
        if (hub.send?.(url.split('/').at(-1) ?? '', bytes, response, from)) return;
        response.writeHead(from > 0 ? 206 : 200).end(bytes.subarray(from));
      } else response.writeHead(404).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  Object.assign(hub.env, {
    HF_HUB_CACHE: cache,
    HF_HOME: cache,
    HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
  });
  try {
    await use(hub);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
