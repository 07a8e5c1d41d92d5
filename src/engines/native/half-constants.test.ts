// Constants of mixed precision that are held in 16 bits: operands of products, and tables whose numbers were read from 16 bits.
import { describe, expect, test } from "vitest";
import { isNativeBuilt, notBuilt } from "../../../test/support/native.ts";
import { createRandom } from "../../../test/support/random.ts";
import { type HalfType, narrowTensor, rememberHalf, roundedToHalf, widenTensor } from "../../ir/half.ts";
import { numbersOf, type Tensor, tensorOf, toNumbers } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { describePlan } from "./describe-plan.ts";
import { createNativeEngine } from "./native-engine.ts";

const engine = createNativeEngine();
const isReady = isNativeBuilt && engine.precisions.includes("mixed");
const why = isReady ? "" : ` (${isNativeBuilt ? "the processor has no bfloat16" : notBuilt})`;
const random = createRandom(5);
const [rows, columns, batch] = [700, 96, 33];
const bytes = rows * columns;

const drawn = random.tensor("float32", [rows, columns]);

/** As a checkpoint of a half type gives it. */
function readFrom(type: HalfType): Tensor {
  const half = narrowTensor(drawn, type);
  const wide = widenTensor(half);
  rememberHalf(wide, half);
  return wide;
}

/** An embedding that is the head too. */
function tied(table: Tensor) {
  const build = buildOn();
  const ids = build.input("ids", { dtype: "int64", shape: [batch] });
  const x = build.input("x", { dtype: "float32", shape: [batch, columns] });
  const weight = build.constant(table);
  const found = build.node("Gather", [weight, ids], { axis: 0 });
  const scores = build.node("Einsum", [x, weight], { equation: "bh,vh->bv" });
  return { graph: build.graph([found, scores]), found, scores };
}

describe.skipIf(!isReady)(`constants in 16 bits${why}`, () => {
  test.each([
    ["bfloat16", 2],
    ["float16", 4],
  ] as const)("a table of %s that products read too takes %i bytes a number", async (type, each) => {
    const table = readFrom(type);
    const { graph, found, scores } = tied(table);
    expect((await describePlan(graph, { precision: "mixed" })).constantBytes).toBe(each * bytes);
    expect((await describePlan(graph, { precision: "float32" })).constantBytes).toBe(4 * bytes);
    const ids = Array.from({ length: batch }, (_, i) => (37 * i) % rows);
    // Powers of two: products and their sums of two terms are exact in float32.
    const x = tensorOf(
      "float32",
      [batch, columns],
      Array.from({ length: batch * columns }, (_, i) => (i % columns < 2 ? 2 ** ((i % 5) - 2) : 0)),
    );
    const executable = await engine.compile(graph, { precision: "mixed", threads: 2 });
    const results = await executable.bind(await engine.variables(new Map())).run(
      new Map([
        ["ids", tensorOf("int64", [batch], ids)],
        ["x", x],
      ]),
    );
    await executable.dispose();
    const numbers = numbersOf(table);
    const expected = ids.flatMap((row) => Array.from(numbers.subarray(row * columns, (row + 1) * columns)));
    expect(toNumbers(results.get(found)!)).toEqual(expected);
    const near = (value: number): number => roundedToHalf("bfloat16", value);
    const [a, y] = [numbersOf(x), numbersOf(results.get(scores)!)];
    for (let i = 0; i < batch; i++)
      for (let row = 0; row < rows; row++) {
        const [first, second] = [0, 1].map((h) => a[i * columns + h] * near(numbers[row * columns + h]));
        expect(y[i * rows + row]).toBe(Math.fround(first + second));
      }
  });

  test("a table of float32 stays so", async () => {
    expect((await describePlan(tied(drawn).graph, { precision: "mixed" })).constantBytes).toBe(6 * bytes);
  });
});
