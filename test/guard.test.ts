/** The guard's verdict on both sides of each threshold, and on numbers that are none. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judge } from '../src/edit/guard.ts';

const test = suite('guard');

test('the cosine alone', () => {
  for (const sign of [1, -1]) {
    assert.is(judge(sign * 0.15, 1), 'ok');
    assert.is(judge(sign * 0.1499, 1), 'suspect');
    assert.is(judge(sign * 0.05, 1), 'suspect');
    assert.is(judge(sign * 0.0499, 1), 'disabling');
  }
});

test('the size of the update alone', () => {
  assert.is(judge(0.5, 4), 'ok');
  assert.is(judge(0.5, 4.01), 'suspect');
  assert.is(judge(0.5, 10), 'suspect');
  assert.is(judge(0.5, 10.01), 'disabling');
});

test('the worse of the two decides; what is no number disables', () => {
  assert.is(judge(0.1, 5), 'suspect');
  assert.is(judge(0.1, 11), 'disabling');
  assert.is(judge(0.01, 5), 'disabling');
  assert.is(judge(NaN, 1), 'disabling');
  assert.is(judge(0.5, NaN), 'disabling');
});

test('thresholds of your own', () => {
  const strict = { suspectCosine: 0.6, disablingCosine: 0.5, suspectUpdate: 1, disablingUpdate: 2 };
  assert.is(judge(0.7, 1, strict), 'ok');
  assert.is(judge(0.55, 1, strict), 'suspect');
  assert.is(judge(0.45, 1, strict), 'disabling');
  assert.is(judge(0.7, 1.5, strict), 'suspect');
  assert.is(judge(0.7, 2.5, strict), 'disabling');
});

test.run();
