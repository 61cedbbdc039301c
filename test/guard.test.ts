/** The guard's verdict on both sides of each threshold, and on numbers that are none. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { judge, judgeBatch, judgeSuccess } from '../src/edit/guard.ts';
import type { TargetState } from '../src/edit/guard.ts';

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

test('a batch is judged by the size of its update over the root of its facts', () => {
  assert.is(judgeBatch(12, 9), 'ok');
  assert.is(judgeBatch(12.1, 9), 'suspect');
  assert.is(judgeBatch(30, 9), 'suspect');
  assert.is(judgeBatch(30.1, 9), 'disabling');
});

test('success: by arg-max, by a ten-fold probability, or past the true object', () => {
  const state = (logprob: number, trueLogprob?: number, continuationFirst = false): TargetState => ({
    target: { continuationLogprob: logprob, continuationFirst },
    trueLogprob,
  });
  const ten = Math.log(10);
  assert.is(judgeSuccess(state(-1), state(-9, undefined, true), 1), 'took');
  assert.is(judgeSuccess(state(-ten), state(0), 1), 'partly');
  assert.is(judgeSuccess(state(-ten), state(-0.001), 1), 'missed');
  // per token: twice half of it is ten-fold
  assert.is(judgeSuccess(state(-ten / 2), state(0), 2), 'partly');
  assert.is(judgeSuccess(state(-ten / 2), state(0), 1), 'missed');
  assert.is(judgeSuccess(state(-3, -2), state(-2, -2.5), 1), 'partly');
  assert.is(judgeSuccess(state(-3, -2), state(-2, -2), 1), 'missed');
  assert.is(judgeSuccess(state(-2, -3), state(-1, -3), 1), 'missed'); // it stood there before
});

test.run();
