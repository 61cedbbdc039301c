/** Headless Chromium for tests: a report of any kind, or our page, built, served and opened with SwiftShader for an adapter. */
import chromiumPackage from '@sparticuz/chromium';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core';
import { build } from 'vite';
import { serve } from '../src/io/static-server.ts';
import type { Served } from '../src/io/static-server.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Chromium's own software adapter, which needs no driver of the system. */
const WEBGPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan,WebGPU',
  '--ignore-gpu-blocklist',
];

/** Of the page's own waits, on a machine that does other things as well. */
const PATIENCE = 180_000;

/** A bound in seconds for an idle machine; where more processes than cores want to run, it grows with them. */
export function within(seconds: number, ms: number, what: string): void {
  const crowd = Math.max(1, (loadavg()[0] ?? 1) / availableParallelism());
  const took = (ms / 1000).toFixed(1);
  if (ms > 1000 * seconds * crowd)
    throw new Error(`${what} took ${took} s, at most ${seconds} s are allowed (times ${crowd.toFixed(1)})`);
  console.log(`${what}: ${took} s`);
}

export interface Site {
  readonly url: string;
  readonly folder: string;
  readonly browser: Browser;
  close(): Promise<void>;
}

/** Builds the page into a folder of its own, where `npm test` has not built it, and serves it as a host of static files would. */
export async function openSite(): Promise<Site> {
  const built = process.env['PALIMPSEST_BUILT'] === '1';
  const folder = built ? join(root, 'dist/page') : mkdtempSync(join(tmpdir(), 'palimpsest-page-'));
  const configFile = join(root, 'page/vite.config.ts');
  if (!built) await build({ configFile, logLevel: 'warn', build: { outDir: folder, emptyOutDir: true } });
  const served: Served = await serve(
    [
      { prefix: 'some/path/weights/', folder: join(root, 'weights') },
      { prefix: 'some/path/', folder },
    ],
    { port: 0, host: '127.0.0.1' },
  );
  const browser = await launch(WEBGPU);
  return {
    url: `${served.url}some/path/`,
    folder,
    browser,
    close: async () => {
      await browser.close();
      await served.close();
      if (!built) rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Console messages, exceptions, requests that failed. */
  readonly problems: string[];
  /** Addresses of all requests. */
  readonly requests: string[];
}

/** Headless Chromium; without flags, one that has no WebGPU. */
export async function launch(flags: readonly string[]): Promise<Browser> {
  return chromium.launch({
    executablePath: await chromiumPackage.executablePath(),
    headless: true,
    args: ['--headless', '--no-sandbox', '--no-zygote', '--hide-scrollbars', ...flags],
  });
}

/** A visitor of its own, with no store that others have filled. */
export async function visit(site: Site, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await site.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  return openPage(context, site.url);
}

export async function openPage(context: BrowserContext, url: string): Promise<Visit> {
  const page = await context.newPage();
  const problems: string[] = [];
  const requests: string[] = [];
  page.on('console', (message) => problems.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('request', (request) => requests.push(request.url()));
  page.on('requestfailed', (request) =>
    problems.push(`${request.url()}: ${request.failure()?.errorText ?? 'failed'}`),
  );
  await page.goto(url);
  return { page, context, problems, requests };
}

/** Waits until an expression of the page is true. (`waitForFunction` needs eval, which the page's policy forbids.) */
export async function until(page: Page, expression: string): Promise<void> {
  const end = Date.now() + PATIENCE;
  while (!(await page.evaluate<unknown>(expression))) {
    if (Date.now() > end) throw new Error(`${expression}: not in ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Waits until the page has asked the model for the first time. */
export async function ready(page: Page): Promise<void> {
  await page.locator('.hero .primary:enabled').waitFor();
}

/** Presses the button of the first screen and waits for the fact to be rewritten. */
export async function demo(page: Page): Promise<void> {
  await page.locator('.hero .primary').click();
  await page.locator('.hero .primary', { hasText: 'Put it back' }).waitFor();
}
