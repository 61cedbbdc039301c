/** A hub on the loopback that lies: names, sizes, hashes, lengths, status codes. */
import type { ServerResponse } from 'node:http';
import { withHub } from '../hub-server.ts';
import type { FakeHub } from '../hub-server.ts';
import { HOSTILE, mutateJson } from './mutate.ts';
import type { Choice } from './random.ts';

/** Names and hashes that would lead out of a cache, into a folder that is there or is not, or that no file system takes. */
const PATHS = [
  ...['../../../out', '../../../out/of/here', '../../../../out/of/here', 'a/../../../../out/b'],
  ...['/tmp/palimpsest-fuzz-out', 'a/../../b', 'a/b', '..', '.', '', HOSTILE, 'x'.repeat(300)],
];
/** Almost a hash: too long, too short, other digits, another kind of value. */
const ALMOST = [
  ...['f'.repeat(64), 'F'.repeat(64), 'e'.repeat(40), 'E'.repeat(40), 'a'.repeat(39), 'a'.repeat(63)],
  ...[7, null, {}, ['a'.repeat(40)]],
];
const STATUS = [401, 403, 404, 429, 500, 503];

/**
 * @param folder the cache
 * @param lies   how many things it lies about
 * @returns what `use` gives, and what was fetched from it that should not have been
 */
export async function withLyingHub<T>(
  c: Choice,
  files: Readonly<Record<string, Buffer>>,
  lies: number,
  folder: string,
  use: (env: Readonly<Record<string, string>>) => Promise<T>,
): Promise<{ result: T; faults: string[] }> {
  let result: T | undefined;
  const faults: string[] = [];
  await withHub(folder, async (hub) => {
    hub.files = { ...files };
    for (let i = 0; i < lies; i += 1) lie(c, hub);
    result = await use(hub.env);
    const name = Object.keys(hub.files).find((file) => !isShard(file) && hasWrongHash(hub, file));
    if (name !== undefined && hub.requests.some((line) => line.includes('/resolve/')))
      faults.push(`fetched although the hash of ${name} has not the form of one`);
  });
  return { result: result as T, faults };
}

/** Asked for once the index is there. */
const isShard = (name: string): boolean => /^model-\d+-of-/.test(name);

/** Whether the hub names a file that is wanted, and a hash of it that is none. */
function hasWrongHash(hub: FakeHub, name: string): boolean {
  const { path = name, oid = 'e'.repeat(40), lfs } = (hub.claims[name] ?? {}) as Record<string, unknown>;
  if (path !== name) return false;
  const own = name.endsWith('.safetensors') ? { oid: hub.oid ?? 'e'.repeat(64) } : undefined;
  const large = 'lfs' in (hub.claims[name] ?? {}) ? lfs : own;
  const isHash = (text: unknown, digits: number): boolean =>
    typeof text === 'string' && new RegExp(`^[0-9a-f]{${digits}}$`).test(text);
  if (!isHash(oid, 40)) return true;
  return large !== undefined && !isHash((large as { oid?: unknown } | null)?.oid, 64);
}

function lie(c: Choice, hub: FakeHub): void {
  const name = c.of(Object.keys(hub.files));
  const bytes = Buffer.from(hub.files[name] ?? '');
  const hash = (): unknown => c.of(c.once(3) ? ALMOST : PATHS);
  // Names of files first: what a hub calls a file is what the door lets in, or does not.
  const names: (() => void)[] = [
    () => (hub.oid = String(hash())),
    () => (hub.claims[name] = { oid: hash() }),
    () => (hub.claims[name] = { oid: hash(), lfs: undefined }),
    () => (hub.claims[name] = { lfs: { oid: hash(), size: bytes.length, pointerSize: 1 } }),
    () => (hub.claims[name] = { path: c.of(PATHS), type: c.of(['file', 'directory', 7]) }),
    () => (hub.commit = answer(c)),
  ];
  const others: (() => void)[] = [
    () => (hub.claims[name] = { size: c.of([0, -1, 1e15, 1e308, bytes.length + 1, 'x', null]) }),
    () => (hub.claims[name] = { lfs: c.of([null, 'x', {}, { oid: 'e'.repeat(64) }]) }),
    () => (hub.status = c.of(STATUS)),
    () => delete hub.files[name],
    () => (hub.files[name] = Buffer.from(mutateJson(c, bytes.toString('latin1')))),
    () => (hub.files[name] = Buffer.from(mutateJson(c, bytes.toString('latin1')))),
    () =>
      (hub.send = (one, whole, response, from) => one === name && send(c, whole.subarray(from), response)),
  ];
  c.of(c.once(2) ? names : others)();
}

function answer(c: Choice): (response: ServerResponse) => void {
  const sha = c.of([...PATHS, ...ALMOST]);
  const right = JSON.stringify({ _id: '1', id: 'x/y', sha: 'a'.repeat(40), lastModified: 0 });
  const text = c.of([
    JSON.stringify({ id: 'x/y', sha }),
    mutateJson(c, right),
    '['.repeat(200_000),
    HOSTILE,
    '',
  ]);
  const kind = c.below(8);
  return (response) => {
    if (kind === 0) response.destroy();
    else if (kind === 1) endless(response, Buffer.from(text));
    else if (kind === 2) response.writeHead(302, { location: '/elsewhere' }).end();
    else if (kind === 3) response.writeHead(403).end(JSON.stringify({ error: HOSTILE }));
    else response.writeHead(200, { 'content-type': 'application/json' }).end(text);
  };
}

/** Always true: it has sent the file, in its way. */
function send(c: Choice, part: Buffer, response: ServerResponse): boolean {
  const kinds: (() => void)[] = [
    () => response.end(part.map((byte) => byte ^ 1)),
    () => response.end(part.subarray(0, part.length >> 1)),
    () =>
      response.writeHead(200, { 'content-length': part.length + 10 }).write(part, () => response.destroy()),
    () => response.writeHead(206, { 'content-range': 'bytes 7-9/3' }).end(part),
    () => endless(response, part),
    () => response.destroy(),
    () => response.writeHead(c.of(STATUS)).end(HOSTILE),
  ];
  c.of(kinds)();
  return true;
}

/** More than the file has, without a length: a reader must stop by itself. */
function endless(response: ServerResponse, part: Buffer): void {
  const block = new Uint8Array(2 ** 20);
  response.on('error', () => undefined);
  response.write(part);
  let sent = 0;
  const more = (): void => {
    while (!response.destroyed && sent < 3e9) {
      sent += block.length;
      if (!response.write(block)) return void response.once('drain', more);
    }
    response.end();
  };
  more();
}
