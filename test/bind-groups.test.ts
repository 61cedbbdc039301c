/** What a dispatch binds: groups are found again for the same kernel on the same memory, and never for other memory. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ShapeError } from '../src/errors.ts';
import { BindGroups } from '../src/gpu/bind-groups.ts';
import { checkNames } from '../src/gpu/dispatch.ts';
import { gpu } from './gpu.ts';

const test = suite('bind-groups');
const kernel = gpu.kernel('tensor/add');
const buffer = (): GPUBuffer => gpu.device.createBuffer({ size: 1024, usage: 0x80 | 0x40 });
const [params, a, b, y] = [buffer(), buffer(), buffer(), buffer()];
const part = (of: GPUBuffer, offset = 0, size = 256): GPUBufferBinding => ({ buffer: of, offset, size });
const list = (first: GPUBufferBinding): GPUBufferBinding[] => [
  part(params, 0, kernel.paramBytes),
  first,
  part(b),
  part(y),
];

test('the same buffers, offsets and sizes give the same group; anything else another', () => {
  const groups = new BindGroups(gpu.device);
  const group = groups.of(kernel, list(part(a)));
  assert.is(groups.of(kernel, list(part(a))), group);
  for (const other of [part(y, 256), part(a, 256), part(a, 0, 512)])
    assert.is.not(groups.of(kernel, list(other)), group);
  const layout = gpu.device.createBindGroupLayout({ entries: [] });
  assert.is.not(groups.of({ ...kernel, layout }, []), group);
  assert.is(groups.size, 5);
});

test('a loop that needs new memory every time does not fill up the memory of the process', () => {
  const groups = new BindGroups(gpu.device);
  for (let i = 0; i < 5000; i += 1) groups.of(kernel, list(part(a, 0, 4 * (1 + (i % 200)))));
  assert.is(groups.size, 200);
  const layouts = Array.from({ length: 30 }, () => gpu.device.createBindGroupLayout({ entries: [] }));
  for (let i = 0; i < 4096; i += 1) {
    const layout = layouts[i % 30] as GPUBindGroupLayout;
    groups.of({ ...kernel, layout: i < 4000 ? kernel.layout : layout }, i < 4000 ? list(part(buffer())) : []);
  }
  assert.ok(groups.size <= 4096, `${groups.size}`);
});

test('bindings and params are held against the text of the shader, one by one', () => {
  const views = { a, b, y };
  checkNames(kernel, views, { n: 1 });
  for (const [bind, given, said] of [
    [{ a, b }, { n: 1 }, 'shaders/tensor/add.wgsl: binding "y" is missing.'],
    [{ ...views, z: y }, { n: 1 }, 'shaders/tensor/add.wgsl: there is no binding "z".'],
    [{ ...views, params }, { n: 1 }, 'shaders/tensor/add.wgsl: there is no binding "params".'],
    [views, {}, 'shaders/tensor/add.wgsl: Params.n is undefined.'],
    [views, { n: NaN }, 'shaders/tensor/add.wgsl: Params.n is NaN.'],
    [views, { n: 1, m: 2 }, 'shaders/tensor/add.wgsl: Params has no "m".'],
  ] as const)
    assert.throws(
      () => checkNames(kernel, bind, given),
      (error: Error) => error instanceof ShapeError && error.message === said,
      said,
    );
});

test.run();
