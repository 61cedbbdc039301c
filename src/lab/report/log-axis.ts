/** Ticks of logarithmic axes for small numbers: 1, 2 and 5 of each power of ten, written as people write them. */

const RAISED = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** `10⁻⁴`, `2×10⁻⁵`. */
export function powerOfTen(x: number): string {
  const exponent = Math.floor(Math.log10(x) + 1e-9);
  const digit = Math.round(x / 10 ** exponent);
  const raised = [...`${Math.abs(exponent)}`].map((d) => RAISED[Number(d)] ?? '').join('');
  return `${digit === 1 ? '' : `${digit}×`}10${exponent < 0 ? '⁻' : ''}${raised}`;
}

export interface LogAxis {
  readonly domain: number[];
  readonly axis: { readonly values: number[]; readonly labelExpr: string };
}

/**
 * A domain a little wider than the values, and an axis with as many ticks as there is room for.
 *
 * @param values positive numbers
 * @param most   labels at most
 */
export function logAxis(values: readonly number[], most: number): LogAxis {
  const positive = values.filter((x) => x > 0 && Number.isFinite(x));
  const domain = [Math.min(...positive) / 1.15, Math.max(...positive) * 1.15];
  const [low = 1, high = 1] = domain;
  const candidates = [[1, 2, 5], [1, 3], [1]].map((digits) => ticks(low, high, digits));
  const chosen = candidates.find((list) => list.length <= most) ?? thin(candidates.at(-1) ?? [], most);
  const labels = JSON.stringify(chosen.map(powerOfTen));
  return {
    domain,
    axis: { values: chosen, labelExpr: `${labels}[indexof(${JSON.stringify(chosen)}, datum.value)]` },
  };
}

function ticks(low: number, high: number, digits: readonly number[]): number[] {
  const found: number[] = [];
  for (let exponent = Math.floor(Math.log10(low)); exponent <= Math.log10(high); exponent += 1)
    for (const digit of digits) {
      const tick = Number(`${digit}e${exponent}`);
      if (tick >= low && tick <= high) found.push(tick);
    }
  return found;
}

function thin(list: readonly number[], most: number): number[] {
  const step = Math.ceil(list.length / most);
  return list.filter((_, i) => i % step === 0);
}
