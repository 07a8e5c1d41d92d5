import { describe, expect, test } from "vitest";
import { createRandom } from "../../../test/support/random.ts";
import { loadHighs } from "../../node/load-highs.ts";
import { allocate } from "./allocate.ts";
import { allocateWithin, type WidthChoice } from "./allocate-within.ts";

type Choices = readonly (readonly WidthChoice[])[];

const solver = await loadHighs();

const totals = (picked: readonly WidthChoice[]): { readonly costs: readonly number[]; readonly loss: number } => ({
  costs: picked[0].costs.map((_, b) => picked.reduce((sum, { costs }) => sum + costs[b], 0)),
  loss: picked.reduce((sum, { loss }) => sum + loss, 0),
});

/** Of all that there are within the budgets. */
function leastLoss(choices: Choices, budgets: readonly number[]): number {
  let best = Number.POSITIVE_INFINITY;
  const visit = (at: number, left: readonly number[], loss: number): void => {
    if (left.some((each) => each < 0) || loss >= best) return;
    if (at === choices.length) best = loss;
    else
      for (const { costs, loss: more } of choices[at])
        visit(
          at + 1,
          left.map((each, b) => each - costs[b]),
          loss + more,
        );
  };
  visit(0, budgets, 0);
  return best;
}

const pickedOf = (choices: Choices, widths: readonly number[]): readonly WidthChoice[] =>
  choices.map((list, i) => list.find(({ width }) => width === widths[i]) as WidthChoice);

test("nothing that keeps all budgets loses less", () => {
  const random = createRandom(2);
  let unreachable = 0;
  for (let run = 0; run < 60; run++) {
    const count = 2 + (run % 2);
    const choices = Array.from({ length: 5 }, () =>
      [2, 4, 8].map((width) => ({
        width,
        costs: Array.from({ length: count }, () => 1 + Math.floor(random.uniform() * 100 * width)),
        loss: random.uniform() / width ** 3,
      })),
    );
    const budgets = Array.from({ length: count }, () => Math.floor(300 + random.uniform() * 1500));
    const expected = leastLoss(choices, budgets);
    const widths = allocateWithin(choices, budgets, solver);
    if (widths === undefined) unreachable++;
    if (widths === undefined) expect(expected).toBe(Number.POSITIVE_INFINITY);
    else {
      const { costs, loss } = totals(pickedOf(choices, widths));
      costs.forEach((cost, b) => void expect(cost).toBeLessThanOrEqual(budgets[b]));
      expect(loss).toBeCloseTo(expected, 9);
    }
  }
  expect(unreachable).toBeGreaterThan(0);
  expect(unreachable).toBeLessThan(60);
});

test("within one budget it is the dynamic program's plan, costs of billions kept to the last unit", () => {
  const random = createRandom(6);
  const lists = Array.from({ length: 30 }, () => {
    const weights = Math.ceil(random.uniform() * 2e8);
    return [2, 4, 8].map((width) => ({ width, cost: weights * width, loss: random.uniform() * 1e-4 * 4 ** -width }));
  });
  const choices = lists.map((list) => list.map(({ cost, ...rest }) => ({ ...rest, costs: [cost] })));
  const budget = 4.5 * lists.reduce((sum, [{ cost }]) => sum + cost / 2, 0);
  const widths = allocateWithin(choices, [budget], solver) ?? [];
  const { costs, loss } = totals(pickedOf(choices, widths));
  expect(costs[0]).toBeLessThanOrEqual(budget);
  expect(loss).toBeLessThanOrEqual((allocate(lists, budget)?.loss ?? 0) * (1 + 1e-6));
});

/** What HAWQ-V3 (arXiv:2011.10680) printed of ResNet-18: normalized traces, ‖Δw‖², weights, multiply-adds and latencies on a T4. */
const hawq = {
  traces: [
    ...[0.06857826, 0.03162379, 0.03298575, 0.01205663, 0.02222431, 0.00596336, 0.06931772, 0.00807129, 0.00372905],
    ...[0.00530698, 0.00209011, 0.00737569, 0.00210454, 0.00151197, 0.00158041, 0.00078146, 0.00451841, 0.00098745],
    0.00072944,
  ],
  errors8: [
    ...[0.0235, 0.0125, 0.0102, 0.0082, 0.0145, 0.0344, 0.0023, 0.0287, 0.0148, 0.0333, 0.0682, 0.0027, 0.0448, 0.0336],
    ...[0.0576, 0.113, 0.0102, 0.0947, 0.0532],
  ],
  errors4: [
    ...[6.743, 3.9691, 3.3281, 2.6796, 4.7277, 10.5966, 0.6827, 9.0942, 4.8857, 10.7599, 21.7546, 0.8603, 14.5324],
    ...[10.9651, 18.7706, 36.4044, 3.1572, 29.6994, 17.4016],
  ],
  weights: [
    ...[36864, 36864, 36864, 36864, 73728, 147456, 8192, 147456, 147456, 294912, 589824, 32768, 589824, 589824],
    ...[1179648, 2359296, 131072, 2359296, 2359296],
  ],
  multiplyAdds: [
    ...[115605504, 115605504, 115605504, 115605504, 57802752, 115605504, 6422528, 115605504, 115605504, 57802752],
    ...[115605504, 6422528, 115605504, 115605504, 57802752, 115605504, 6422528, 115605504, 115605504],
  ],
  latency4: [
    ...[0.21094404, 0.21092674, 0.21104113, 0.21086851, 0.13642465, 0.19167506, 0.02532183, 0.19148203, 0.19142914],
    ...[0.11395316, 0.20556011, 0.01917474, 0.20566918, 0.20566509, 0.13185102, 0.22287786, 0.01790088, 0.22304611],
    0.22286099,
  ],
  latency8: [
    ...[0.36189111, 0.36211718, 0.31141909, 0.30454471, 0.19184896, 0.38948934, 0.0334169, 0.38904905, 0.3892859],
    ...[0.19134735, 0.34307431, 0.02802354, 0.34313329, 0.34310756, 0.21117103, 0.37376585, 0.02896843, 0.37398187],
    0.37405185,
  ],
};

describe("ResNet-18 by the figures of HAWQ-V3, a shortcut's convolution at the width of its block's first", () => {
  const tied = new Map([
    [6, 4],
    [11, 9],
    [16, 14],
  ]);
  const costsAt = (i: number, width: number): readonly number[] => [
    hawq.weights[i] * width,
    hawq.multiplyAdds[i] * width * width,
    Math.round(1e8 * (width === 4 ? hawq.latency4 : hawq.latency8)[i]),
  ];
  const choices = hawq.weights.flatMap((_, i): WidthChoice[][] => {
    if (tied.has(i)) return [];
    const layers = [i, ...[...tied].flatMap(([other, main]) => (main === i ? [other] : []))];
    const sum = (of: (layer: number) => number): number => layers.reduce((total, layer) => total + of(layer), 0);
    return [
      [4, 8].map((width) => ({
        width,
        costs: [0, 1, 2].map((b) => sum((layer) => costsAt(layer, width)[b])),
        loss: sum((layer) => hawq.traces[layer] * (width === 4 ? hawq.errors4 : hawq.errors8)[layer]),
      })),
    ];
  });
  const endsOf = (b: number): readonly number[] =>
    [0, 1].map((at) => choices.reduce((sum, list) => sum + list[at].costs[b], 0));

  test.each([
    [0.5, 0.5, 0.5],
    [0.25, 0.5, 0.75],
    [0.75, 0.25, 0.5],
  ])("shares %d of size, %d of bit operations and %d of time between 4 and 8 bits", (...shares) => {
    const budgets = shares.map((share, b) => {
      const [low, high] = endsOf(b);
      return Math.floor(low + (high - low) * share);
    });
    const widths = allocateWithin(choices, budgets, solver) ?? [];
    const { costs, loss } = totals(pickedOf(choices, widths));
    costs.forEach((cost, b) => void expect(cost).toBeLessThanOrEqual(budgets[b]));
    expect(loss).toBeCloseTo(leastLoss(choices, budgets), 9);
    expect(new Set(widths).size).toBe(2);
  });
});
