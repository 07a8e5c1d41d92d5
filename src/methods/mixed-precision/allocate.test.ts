import fc from "fast-check";
import { expect, test } from "vitest";
import { allocate, frontOf, type WidthOption } from "./allocate.ts";

const option = (cost: fc.Arbitrary<number>): fc.Arbitrary<WidthOption> =>
  fc.record({ width: fc.integer({ min: 2, max: 8 }), cost, loss: fc.double({ min: 0, max: 9, noNaN: true }) });

const problem = (cost: fc.Arbitrary<number>) =>
  fc.array(fc.array(option(cost), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 });

/** Every way to choose. */
const all = (options: readonly (readonly WidthOption[])[]): readonly (readonly WidthOption[])[] =>
  options.reduce<readonly (readonly WidthOption[])[]>(
    (found, list) => found.flatMap((chosen) => list.map((next) => [...chosen, next])),
    [[]],
  );

const total = (chosen: readonly WidthOption[], key: "cost" | "loss"): number =>
  chosen.reduce((sum, each) => sum + each[key], 0);

test("gives the least loss within the budget of all ways to choose", () => {
  fc.assert(
    fc.property(problem(fc.integer({ min: 1, max: 60 })), fc.integer({ min: 0, max: 200 }), (options, budget) => {
      const losses = all(options)
        .filter((chosen) => total(chosen, "cost") <= budget)
        .map((chosen) => total(chosen, "loss"));
      const found = allocate(options, budget);
      expect(found === undefined).toBe(losses.length === 0);
      if (!found) return;
      expect(found.loss).toBeCloseTo(Math.min(...losses), 9);
      expect(found.cost).toBeLessThanOrEqual(budget);
      found.widths.forEach((width, i) => {
        expect(options[i].map((each) => each.width)).toContain(width);
      });
    }),
  );
});

test("keeps within budgets of millions of bits, near the least loss", () => {
  fc.assert(
    fc.property(problem(fc.integer({ min: 1e6, max: 6e7 })), (options) => {
      const budget = 1.5e8;
      const within = (limit: number): readonly number[] =>
        all(options).flatMap((chosen) => (total(chosen, "cost") <= limit ? [total(chosen, "loss")] : []));
      const found = allocate(options, budget);
      // A choice that leaves a thousandth of the budget is not lost to rounding.
      const clear = within(0.999 * budget);
      if (found) {
        expect(found.cost).toBeLessThanOrEqual(budget);
        expect(found.loss).toBeLessThanOrEqual(Math.min(...clear, Number.POSITIVE_INFINITY) + 1e-9);
      } else expect(clear).toEqual([]);
    }),
  );
});

test("the front is the least loss of all ways to choose within each budget", () => {
  fc.assert(
    fc.property(problem(fc.integer({ min: 1, max: 60 })), (options) => {
      const ways = all(options);
      const costs = ways.map((chosen) => total(chosen, "cost"));
      const front = frontOf(options, 7);
      expect(front[0].cost).toBe(Math.min(...costs));
      for (const { cost, loss } of front) {
        const within = ways.filter((_, i) => costs[i] <= cost).map((chosen) => total(chosen, "loss"));
        expect(loss).toBeCloseTo(Math.min(...within), 9);
      }
      expect(front.at(-1)?.loss).toBeCloseTo(Math.min(...ways.map((chosen) => total(chosen, "loss"))), 9);
      front.slice(1).forEach(({ loss }, i) => {
        expect(loss).toBeLessThan(front[i].loss);
      });
    }),
  );
});
