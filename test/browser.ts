/**
 * Headless Chromium for tests, out of the npm package `@sparticuz/chromium`, and the part of its DevTools protocol
 * that a page's test needs. The protocol runs over two pipes: no port, no library.
 */
import chromium from '@sparticuz/chromium';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

const TIMEOUT_MS = 30_000;

export interface Screen {
  width: number;
  height: number;
  dark: boolean;
}

export interface Page {
  /** Errors and warnings of the console, exceptions, and requests that failed. */
  problems: string[];
  /** Addresses of all that the page asked for. */
  requests: string[];
  /** The value of an expression in the page; it must survive JSON. */
  evaluate: <T>(expression: string) => Promise<T>;
  /** PNG of the whole page, or of `rows` from y = `from` on. */
  screenshot: (from?: number, rows?: number) => Promise<Buffer>;
  resize: (screen: Screen) => Promise<void>;
}

export interface Browser {
  open: (url: string, screen: Screen) => Promise<Page>;
  close: () => Promise<void>;
}

interface Message {
  id?: number;
  method?: string;
  sessionId?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

export async function launch(): Promise<Browser> {
  const path = await chromium.executablePath();
  const profile = await mkdtemp(join(tmpdir(), 'palimpsest-browser-'));
  const words = [
    '--headless',
    '--no-sandbox',
    '--no-zygote',
    '--disable-gpu',
    '--hide-scrollbars',
    '--no-first-run',
  ];
  const child = spawn(path, [...words, '--remote-debugging-pipe', `--user-data-dir=${profile}`], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const link = new Link(child.stdio[3] as Writable, child.stdio[4] as Readable);
  child.once('error', (error) => link.fail(error));
  child.once('exit', (code, signal) => link.fail(new Error(`chromium ended with ${code ?? signal}`)));
  return {
    open: (url, screen) => openPage(link, url, screen),
    close: async () => {
      child.kill('SIGKILL');
      await ended;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function openPage(link: Link, url: string, screen: Screen): Promise<Page> {
  const { targetId } = await link.send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await link.send('Target.attachToTarget', { targetId, flatten: true });
  const send = (method: string, params: object = {}): Promise<Record<string, unknown>> =>
    link.send(method, params, sessionId as string);
  const problems: string[] = [];
  const requests: string[] = [];
  const loaded = new Promise<void>((resolve) => {
    link.listen(sessionId as string, ({ method, params = {} }) => {
      const text = JSON.stringify(params).slice(0, 500);
      if (method === 'Page.loadEventFired') resolve();
      if (method === 'Runtime.exceptionThrown' || method === 'Network.loadingFailed') problems.push(text);
      if (method === 'Log.entryAdded') problems.push(text);
      if (
        method === 'Runtime.consoleAPICalled' &&
        ['error', 'warning', 'assert'].includes(String(params['type']))
      )
        problems.push(text);
      if (method === 'Network.requestWillBeSent') requests.push((params['request'] as { url: string }).url);
    });
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await send(`${domain}.enable`);
  const resize = async ({ width, height, dark }: Screen): Promise<void> => {
    await send('Emulation.setDeviceMetricsOverride', {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }];
    await send('Emulation.setEmulatedMedia', { features });
  };
  await resize(screen);
  await send('Page.navigate', { url });
  await loaded;
  const evaluate = async <T>(expression: string): Promise<T> => {
    const answer = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (answer['exceptionDetails']) throw new Error(JSON.stringify(answer['exceptionDetails']));
    return (answer['result'] as { value: T }).value;
  };
  return {
    problems,
    requests,
    evaluate,
    resize,
    screenshot: async (from = 0, rows) => {
      const { cssContentSize } = (await send('Page.getLayoutMetrics')) as {
        cssContentSize: { width: number; height: number };
      };
      const { width, height } = cssContentSize;
      const clip = { x: 0, y: from, width, height: Math.min(rows ?? height, height - from), scale: 1 };
      const { data } = await send('Page.captureScreenshot', {
        format: 'png',
        captureBeyondViewport: true,
        clip,
      });
      return Buffer.from(data as string, 'base64');
    },
  };
}

/** JSON messages, each ended by a zero byte. */
class Link {
  readonly #out: Writable;
  readonly #waiting = new Map<
    number,
    { resolve: (result: Record<string, unknown>) => void; reject: (error: Error) => void }
  >();
  readonly #listeners = new Map<string, (message: Message) => void>();
  #last = 0;
  #rest = '';

  constructor(out: Writable, input: Readable) {
    this.#out = out;
    out.on('error', (error) => this.fail(error));
    input.setEncoding('utf8');
    input.on('data', (part: string) => {
      const messages = (this.#rest + part).split('\0');
      this.#rest = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message) as Message);
    });
  }

  send(method: string, params: object = {}, sessionId?: string): Promise<Record<string, unknown>> {
    const id = (this.#last += 1);
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`chromium: no answer to ${method} in ${TIMEOUT_MS} ms`)),
        TIMEOUT_MS,
      );
      const done =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(late);
          then(value);
        };
      this.#waiting.set(id, { resolve: done(resolve), reject: done(reject) });
      this.#out.write(`${JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) })}\0`);
    });
  }

  listen(sessionId: string, listener: (message: Message) => void): void {
    this.#listeners.set(sessionId, listener);
  }

  fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #take(message: Message): void {
    const waiting = message.id === undefined ? undefined : this.#waiting.get(message.id);
    if (!waiting) {
      if (message.sessionId) this.#listeners.get(message.sessionId)?.(message);
      return;
    }
    this.#waiting.delete(message.id as number);
    if (message.error) waiting.reject(new Error(message.error.message));
    else waiting.resolve(message.result ?? {});
  }
}
