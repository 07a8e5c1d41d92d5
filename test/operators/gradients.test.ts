// Every gradient rule against central differences of the reference kernels, in float64.
import { describe, expect, test } from "vitest";
import { kernels } from "../../src/kernels/index.ts";
import { opDefinition, ops, opTypes } from "../../src/ops/index.ts";
import { checkGradients } from "../support/gradient-check.ts";
import { type Form, titleOf } from "./examples/example.ts";
import { examples, formsOf } from "./examples/index.ts";

/** Its float64 inputs are the ones that gradients are asked of, unless it names them. */
const asksGradients = ({ inputs, wanted }: Form): boolean =>
  wanted ? wanted.length > 0 : inputs.some((input) => input?.dtype === "float64");

const checked = examples.filter((example) => opDefinition(example.op)?.gradient !== "none" && asksGradients(example));

describe("gradients agree with finite differences", () => {
  test.each(checked.map((example) => [titleOf(example), example] as const))("%s", (_title, example) => {
    const { op, inputs, attributes = {}, outputs = 1, cotangents = [0], wanted } = example;
    checkGradients(op, inputs, attributes, { kernels, outputs, cotangents, ...(wanted && { wanted }) });
  });
});

test("every operator with a gradient has an example of it, with inputs in float64", () => {
  const missing = opTypes.filter((op) => ops[op].gradient !== "none" && !formsOf[op].some(asksGradients));
  expect(missing).toEqual([]);
});
