// Every operator of ONNX against ONNX Runtime. Our own are run against their lowerings to ONNX's in test/engines/conformance.test.ts.
import { describe, expect, test } from "vitest";
import { kernels } from "../../src/kernels/index.ts";
import { isOwn, type OpType, opTypes } from "../../src/ops/index.ts";
import type { CloseOptions } from "../support/close.ts";
import { runKernel } from "../support/forward-check.ts";
import { checkExample } from "../support/forward-examples.ts";
import { titleOf } from "./examples/example.ts";
import { examples, formsOf } from "./examples/index.ts";

const transcendental = { factor: 4, because: "ONNX Runtime approximates transcendental functions in float32" };

const widened: ReadonlyMap<string, CloseOptions["widen"]> = new Map<OpType, CloseOptions["widen"]>([
  ...(["Celu", "Elu", "Erf", "Exp", "Gelu", "Log", "Mish", "Pow", "Selu", "Sigmoid", "Softplus", "Tanh"] as const).map(
    (op) => [op, transcendental] as const,
  ),
  ["Resize", { factor: 4, because: "ONNX Runtime interpolates in float32 throughout" }],
]);

describe("operators of ONNX agree with ONNX Runtime", () => {
  const cases = examples.filter(({ op }) => !isOwn(op)).map((example) => [titleOf(example), example] as const);
  test.each(cases)("%s", (_title, example) => {
    const widen = widened.get(example.op);
    return checkExample(example, widen ? { widen } : {});
  });
});

/** Their output is their input. */
const identities: ReadonlySet<OpType> = new Set<OpType>(["Identity", "Dropout"]);

test.each(opTypes.filter((op) => !identities.has(op)))(
  "an example of %s fails a kernel that returns an input",
  (op) => {
    const differs = formsOf[op].some(({ inputs, attributes = {}, outputs = 1 }) => {
      const [y] = runKernel(op, inputs, attributes, kernels, outputs);
      const isOutput = (input: (typeof inputs)[number]): boolean =>
        input?.dtype === y.dtype && String(input.shape) === String(y.shape) && String(input.data) === String(y.data);
      return !inputs.some(isOutput);
    });
    expect(differs).toBe(true);
  },
);
