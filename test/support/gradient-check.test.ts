import { expect, it } from "vitest";
import { tensorOf } from "../../src/ir/tensor.ts";
import { kernels } from "../../src/kernels/index.ts";
import { checkGradients, checkRows } from "./gradient-check.ts";
import { createRandom } from "./random.ts";

const random = createRandom(7);
const inputs = [random.tensor("float64", [3, 4]), random.tensor("float64", [4, 5])];

it("a gradient of another function is found out", () => {
  const doubled = ([a, b]: readonly (ReturnType<typeof random.tensor> | undefined)[]) =>
    kernels.MatMul(
      [
        a &&
          tensorOf(
            "float64",
            a.shape,
            (a.data as Float64Array).map((x) => x * x),
          ),
        b,
      ],
      {
        name: "n",
        op: "MatMul",
        inputs: [],
        outputs: [],
        attributes: {},
      },
    );
  expect(() => checkGradients("MatMul", inputs, {}, { kernels, surrogate: doubled })).toThrow(
    "MatMul: derivative by input 0",
  );
});

it("rows of an operator that mixes them are refused", () => {
  expect(() => checkRows("MatMul", inputs, {}, { input: 1, axis: 0, rows: [1] }, { kernels })).toThrow(
    "neither keeps nor computes rows of input 1 along axis 0",
  );
});
