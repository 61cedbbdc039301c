/** Builds the page into static files that work under any path: every address in them is relative. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const here = fileURLToPath(new URL('.', import.meta.url));
const { version } = JSON.parse(readFileSync(`${here}../package.json`, 'utf8')) as { version: string };

export default defineConfig({
  root: here,
  base: './',
  publicDir: 'recorded',
  define: { __VERSION__: JSON.stringify(version) },
  build: {
    outDir: '../dist/page',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  worker: { format: 'es' },
  server: { fs: { allow: ['..'] } },
});
