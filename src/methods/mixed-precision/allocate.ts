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

interface Table {
  /** By steps of the budget, the least total loss within them. */
  readonly least: Float64Array;
  /** By weight and step, which of its options that takes. */
  readonly chosen: readonly Uint8Array[];
  /** What a step costs. */
  readonly unit: number;
}

type Options = readonly (readonly WidthOption[])[];

/** Exact while the budget is at most 2^18 times the greatest common divisor of the costs. */
function tableOf(options: Options, budget: number): Table | undefined {
  const divisor = options.flat().reduce((common, { cost }) => gcd(common, cost), 0) || 1;
  const unit = divisor * Math.max(1, Math.ceil(budget / divisor / mostSteps));
  const steps = Math.floor(budget / unit);
  if (steps < 0) return undefined;
  let least = new Float64Array(steps + 1);
  const chosen = options.map((list) => {
    const next = new Float64Array(steps + 1).fill(Number.POSITIVE_INFINITY);
    const choice = new Uint8Array(steps + 1);
    list.forEach(({ cost, loss }, index) => {
      const spent = Math.ceil(cost / unit);
      for (let step = spent; step <= steps; step++) {
        const total = least[step - spent] + loss;
        if (total < next[step]) {
          next[step] = total;
          choice[step] = index;
        }
      }
    });
    least = next;
    return choice;
  });
  return { least, chosen, unit };
}

/** The widths of the least total loss whose total cost is within the budget; `undefined` where nothing is. */
export function allocate(options: Options, budget: number): Allocation | undefined {
  const table = tableOf(options, budget);
  if (!table || !Number.isFinite(table.least[table.least.length - 1])) return undefined;
  const { least, chosen, unit } = table;
  const picked: WidthOption[] = [];
  for (let at = options.length - 1, step = least.length - 1; at >= 0; at--) {
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

const sumOf = (options: Options, of: (costs: readonly number[]) => number): number =>
  options.reduce((sum, list) => sum + of(list.map(({ cost }) => cost)), 0);

/** The least total loss of budgets between the least and the largest cost, as many as `count`; those that gain nothing are left out. */
export function frontOf(options: Options, count: number): readonly { readonly cost: number; readonly loss: number }[] {
  const [low, high] = [sumOf(options, (costs) => Math.min(...costs)), sumOf(options, (costs) => Math.max(...costs))];
  const table = tableOf(options, high);
  if (!table) return [];
  const budgets = Array.from({ length: count }, (_, i) => low + ((high - low) * i) / Math.max(1, count - 1));
  const points = budgets.map((cost) => ({
    cost,
    loss: table.least[Math.min(table.least.length - 1, Math.floor(cost / table.unit))],
  }));
  return points.filter(({ loss }, i) => Number.isFinite(loss) && (i === 0 || loss < points[i - 1].loss));
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
