/** The text of every shader: the files of `shaders/`, as they are. */
import { GpuError } from '../../src/errors.ts';

const files = import.meta.glob<string>('../../shaders/**/*.wgsl', {
  query: '?raw',
  import: 'default',
  eager: true,
});

const texts = new Map(
  Object.entries(files).map(([path, text]): [string, string] => [
    path.replace(/^.*\/shaders\//, '').replace(/\.wgsl$/, ''),
    text,
  ]),
);

/** Names without `.wgsl`. */
export const SHADERS: readonly string[] = [...texts.keys()].sort();

export function shaderText(name: string): string {
  const text = texts.get(name);
  if (text !== undefined) return text;
  throw new GpuError(
    `gpu: there is no shader shaders/${name}.wgsl. The page is incomplete: build it again.`,
    'gpu',
  );
}
