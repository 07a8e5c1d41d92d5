// Arithmetic on sizes, against what JavaScript computes of the same expressions.
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Dim } from "../ir/graph.ts";
import { productOf, quotientOf, sumOf } from "./dims.ts";

test("products collect numbers and sort symbols", () => {
  expect(productOf([2, "width", 3, "batch"])).toBe("6*batch*width");
  expect(productOf(["6*batch*width", 0])).toBe(0);
  expect(productOf([])).toBe(1);
  expect(productOf(["batch"])).toBe("batch");
});

test("quotients are given where they are provably whole", () => {
  expect(quotientOf(["batch", 64, 7, 7], ["batch"])).toBe(3136);
  expect(quotientOf(["batch", 6], [4])).toBeUndefined();
  expect(quotientOf(["batch"], ["width"])).toBeUndefined();
  expect(quotientOf(["6*batch*width"], [3, "width"])).toBe("2*batch");
});

test("sums of symbols are atoms of products", () => {
  expect(sumOf(["past", 1, 0])).toBe("(past+1)");
  expect(sumOf(["past", 0])).toBe("past");
  expect(productOf([sumOf(["past", 1]), 2])).toBe("2*(past+1)");
  expect(quotientOf(["2*(past+1)"], ["(past+1)"])).toBe(2);
  expect(productOf(["s0 + 1", 2])).toBe("2*(s0 + 1)");
});

test("sums of equal terms are products, and what cancels is gone", () => {
  expect(sumOf(["N", "N"])).toBe("2*N");
  expect(sumOf([sumOf(["N", 1]), sumOf(["N", "M", -3])])).toBe("(2*N+M-2)");
  expect(sumOf([sumOf(["N", 1]), -1])).toBe("N");
  expect(sumOf(["N", productOf([-1, "N"])])).toBe(0);
  expect(sumOf(["s0 + 1", "s0 + 1"])).toBe("2*(s0 + 1)");
  expect(sumOf([productOf([sumOf(["N", 1]), sumOf(["M", 1])]), 1])).toBe("((M+1)*(N+1)+1)");
});

/** What an expression is for given sizes, as JavaScript computes it. */
const computed = (dim: Dim, N: number, M: number): number =>
  typeof dim === "number" ? dim : Number(new Function("N", "M", `return ${dim}`)(N, M));

test("sums, products and quotients have the value of what they are made of", () => {
  const leaf: fc.Arbitrary<Dim> = fc.oneof(fc.integer({ min: -9, max: 9 }), fc.constantFrom("N", "M"));
  const { tree } = fc.letrec<{ tree: readonly [Dim, number] }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      leaf.map((dim) => [dim, computed(dim, 5, 7)] as const),
      fc
        .tuple(fc.constantFrom("sum", "product"), fc.array(tie("tree"), { minLength: 1, maxLength: 3 }))
        .map(([kind, parts]) => {
          const dims = parts.map(([dim]) => dim);
          const values = parts.map(([, value]) => value);
          return kind === "sum"
            ? ([sumOf(dims), values.reduce((a, b) => a + b, 0)] as const)
            : ([productOf(dims), values.reduce((a, b) => a * b, 1)] as const);
        }),
    ),
  }));
  fc.assert(
    fc.property(tree, ([dim, value]) => {
      fc.pre(Math.abs(value) < 2 ** 40 && String(dim).length < 256);
      expect(computed(dim, 5, 7) + 0).toBe(value + 0);
    }),
    { numRuns: 500 },
  );
});
