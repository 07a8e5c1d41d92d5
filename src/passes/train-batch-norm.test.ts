import { expect, test } from "vitest";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { numbersOf, tensorOf } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { trainBatchNorm } from "./train-batch-norm.ts";

test("a normalization used twice follows the statistics of both uses, one after the other", async () => {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape: [2, 1] });
  const parameters = [1, 0, 0, 1].map((value, i) =>
    build.constant(tensorOf("float64", [1], [value]), ["gamma", "beta", "mean", "variance"][i]),
  );
  const first = build.node("BatchNormalization", [x, ...parameters], { epsilon: 0, momentum: 0.9 }, "first");
  const moved = build.node("Add", [first, build.scalar(5, first)]);
  const second = build.node("BatchNormalization", [moved, ...parameters], { epsilon: 0, momentum: 0.9 }, "second");
  const graph = trainBatchNorm(build.graph([second]));
  const engine = createReferenceEngine();
  const variables = await engine.variables(
    new Map([
      ["mean", tensorOf("float64", [1], [0])],
      ["variance", tensorOf("float64", [1], [1])],
    ]),
  );
  await (await engine.compile(graph)).bind(variables).run(new Map([["x", tensorOf("float64", [2, 1], [0, 2])]]));
  // Means 1 and 5; unbiased variances 2 and 2.
  expect(numbersOf(await variables.read("mean"))[0]).toBeCloseTo(0.9 * (0.1 * 1) + 0.1 * 5, 12);
  expect(numbersOf(await variables.read("variance"))[0]).toBeCloseTo(0.9 * (0.9 + 0.1 * 2) + 0.1 * 2, 12);
});
