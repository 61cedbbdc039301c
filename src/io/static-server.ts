/** Serves folders of static files to browsers on this machine, or to whoever can reach the address it is given. */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { UsageError } from '../errors.ts';
import { isSystemError } from './file.ts';

/** A folder, and what addresses of its files begin with: nothing, or `weights/`. */
export interface Mount {
  readonly prefix: string;
  readonly folder: string;
}

interface ServeOptions {
  /** 0: any free one. */
  readonly port: number;
  readonly host: string;
  /** Sent with every answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
};

export interface Served {
  readonly url: string;
  close(): Promise<void>;
}

/** @throws UsageError when the port is taken, or may not be used */
export async function serve(mounts: readonly Mount[], options: ServeOptions): Promise<Served> {
  const server = createServer((request, response) => {
    void answer(mounts, request, response, options.headers ?? {}).catch(() => response.destroy());
  });
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${host}:${port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { port, host }: ServeOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const why = isSystemError(error) ? error.code : error.message;
      reject(
        new UsageError(
          `--port ${port}: expected a port that is free at ${host}, but it cannot be had (${why}). Choose another one; 0 takes any.`,
        ),
      );
    });
    server.listen(port, host, resolve);
  });
}

async function answer(
  mounts: readonly Mount[],
  request: IncomingMessage,
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const end = (code: number, text: string): void => {
    response.writeHead(code, { ...headers, 'Content-Type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(405, 'GET or HEAD, please.');
  const file = fileOf(mounts, request.url ?? '/');
  const found = file === undefined ? undefined : await stat(file).catch(() => undefined);
  if (file === undefined || !found?.isFile()) return end(404, 'There is no such file.');
  const etag = `"${found.size}-${Math.round(found.mtimeMs)}"`;
  const about: Record<string, string | number> = {
    ...headers,
    'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-cache',
    ETag: etag,
    Vary: 'Accept-Encoding',
  };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, about).end();
    return;
  }
  const packed = extname(file) in TYPES && /\bgzip\b/.test(request.headers['accept-encoding'] ?? '');
  if (packed) {
    const body = await promisify(gzip)(await readFile(file));
    response.writeHead(200, { ...about, 'Content-Encoding': 'gzip', 'Content-Length': body.length });
    response.end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  response.writeHead(200, { ...about, 'Content-Length': found.size });
  if (request.method === 'HEAD') response.end();
  else
    createReadStream(file)
      .on('error', () => response.destroy())
      .pipe(response);
}

/** The file of an address; undefined for one that leaves its folder, or is none. */
function fileOf(mounts: readonly Mount[], url: string): string | undefined {
  let path: string;
  try {
    path = decodeURIComponent(url.replace(/[?#].*$/, '')).slice(1);
  } catch {
    return undefined;
  }
  if (path === '' || path.endsWith('/')) path += 'index.html';
  const parts = path.split('/');
  if (/[\\\0:]/.test(path) || parts.some((part) => part === '' || part.startsWith('.'))) return undefined;
  const mount = mounts.find(({ prefix }) => path.startsWith(prefix));
  return mount && join(mount.folder, path.slice(mount.prefix.length));
}
