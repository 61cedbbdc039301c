/** The server of `palimpsest page`: files of its folders and nothing else, packed and revalidated; and the page as a folder. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { serve } from '../src/io/static-server.ts';
import type { Served } from '../src/io/static-server.ts';
import { folderOf } from './folder.ts';
import { cli } from './process.ts';

const test = suite('static-server');
const folder = folderOf(test);
let served: Served;

test.before(async () => {
  mkdirSync(join(folder, 'site'));
  mkdirSync(join(folder, 'model'));
  writeFileSync(join(folder, 'site/index.html'), '<!doctype html>'.padEnd(2000, 'x'));
  writeFileSync(join(folder, 'site/.hidden'), 'no');
  writeFileSync(join(folder, 'model/w.safetensors'), 'weights');
  writeFileSync(join(folder, 'secret'), 'no');
  const mounts = [
    { prefix: 'weights/', folder: join(folder, 'model') },
    { prefix: '', folder: join(folder, 'site') },
  ];
  served = await serve(mounts, { port: 0, host: '127.0.0.1', headers: { 'X-Test': 'yes' } });
});

test.after(async () => {
  await served?.close();
});

test('files of both folders, with their types and the headers asked for', async () => {
  const page = await fetch(served.url);
  assert.is(page.status, 200);
  assert.is(page.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.is(page.headers.get('x-test'), 'yes');
  assert.is(page.headers.get('content-encoding'), 'gzip');
  assert.is((await page.text()).length, 2000);
  const weights = await fetch(`${served.url}weights/w.safetensors?v=1`);
  assert.is(weights.headers.get('content-length'), '7');
  assert.is(await weights.text(), 'weights');
});

test('a file that did not change is not sent again', async () => {
  const etag = (await fetch(served.url)).headers.get('etag') ?? '';
  const again = await fetch(served.url, { headers: { 'If-None-Match': etag } });
  assert.is(again.status, 304);
});

/** The status of an address as it stands: `fetch` would tidy it up. */
function statusOf(path: string, method = 'GET'): Promise<number | undefined> {
  const { hostname, port } = new URL(served.url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path, method }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on('error', reject)
      .end();
  });
}

test('nothing outside the folders, nothing hidden, nothing but reading', async () => {
  const outside = [
    '/../secret',
    '/%2e%2e/secret',
    '/weights/../../secret',
    '/..%2fsecret',
    '/.hidden',
    '//secret',
  ];
  for (const path of [...outside, '/%', '/a%00', '/weights/', '/c:/secret', '/..%5csecret', '/nothing'])
    assert.is(await statusOf(path), 404, path);
  assert.is(await statusOf('/', 'POST'), 405);
  assert.is(await statusOf('/', 'HEAD'), 200);
});

test('a port that is taken is told, with what to do', async () => {
  const port = Number(new URL(served.url).port);
  const { code, stderr } = await cli(['page', '--no-open', '--port', String(port)]);
  assert.is(code, 2);
  assert.match(stderr, /expected a port that is free|expected the built page/);
});

test.run();
