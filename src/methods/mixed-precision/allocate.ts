// One width for each weight, at the least loss within a budget: dynamic programming over what has been spent.

/** What a weight costs at one width, in whole numbers, and what quantizing it so loses. */
export interface WidthOption {
  readonly width: number;
  readonly cost: number;
  readonly loss: number;
}

/** Steps of the budget that are told apart at most: beyond, costs are rounded up to them, and the budget still holds. */
const mostSteps = 2 ** 18;

export interface Allocation {
  readonly widths: readonly number[];
  readonly cost: number;
  readonly loss: number;
}

/**
 * The widths of the least total loss whose total cost is within the budget; `undefined` where nothing is. Exact while the budget
 * is at most 2^18 times the greatest common divisor of the costs.
 */
export function allocate(options: readonly (readonly WidthOption[])[], budget: number): Allocation | undefined {
  const divisor = options.flat().reduce((common, { cost }) => gcd(common, cost), 0) || 1;
  const unit = divisor * Math.max(1, Math.ceil(budget / divisor / mostSteps));
  const steps = Math.floor(budget / unit);
  if (steps < 0) return undefined;
  let best = new Float64Array(steps + 1);
  const chosen = options.map((list) => {
    const next = new Float64Array(steps + 1).fill(Number.POSITIVE_INFINITY);
    const choice = new Uint8Array(steps + 1);
    list.forEach(({ cost, loss }, index) => {
      const spent = Math.ceil(cost / unit);
      for (let step = spent; step <= steps; step++) {
        const total = best[step - spent] + loss;
        if (total < next[step]) {
          next[step] = total;
          choice[step] = index;
        }
      }
    });
    best = next;
    return choice;
  });
  if (!Number.isFinite(best[steps])) return undefined;
  const picked: WidthOption[] = [];
  for (let at = options.length - 1, step = steps; at >= 0; at--) {
    const option = options[at][chosen[at][step]];
    picked.unshift(option);
    step -= Math.ceil(option.cost / unit);
  }
  return {
    widths: picked.map(({ width }) => width),
    cost: picked.reduce((sum, { cost }) => sum + cost, 0),
    loss: picked.reduce((sum, { loss }) => sum + loss, 0),
  };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
