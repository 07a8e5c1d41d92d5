// Every gradient rule against central differences of the reference kernels, in float64.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { kernels } from "../../src/kernels/index.ts";
import { opDefinition, ops } from "../../src/ops/index.ts";
import { checkGradients } from "../support/gradient-check.ts";
import { titleOf } from "./examples/example.ts";
import { examples } from "./examples/index.ts";

const differentiable = examples.filter(({ op }) => opDefinition(op)?.gradient !== "none");

describe("gradients agree with finite differences", () => {
  test.each(differentiable.map((example) => [titleOf(example), example] as const))("%s", (_title, example) => {
    const { op, inputs, attributes = {}, outputs = 1, cotangents = [0], wanted } = example;
    checkGradients(op, inputs, attributes, { kernels, outputs, cotangents, ...(wanted && { wanted }) });
  });
});

/** Operators whose examples stand in the tests beside their definitions. */
function checkedBesideDefinitions(): Set<string> {
  const folder = join(import.meta.dirname, "../../src/ops");
  const texts = readdirSync(folder)
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => readFileSync(join(folder, file), "utf8"));
  return new Set(texts.flatMap((text) => [...text.matchAll(/checkGradients\(\s*"(\w+)"/g)].map((match) => match[1])));
}

test("every operator with a gradient has an example of it", () => {
  const checked = new Set([...examples.map(({ op }) => op), ...checkedBesideDefinitions()]);
  const missing = Object.entries(ops).filter(([op, { gradient }]) => gradient !== "none" && !checked.has(op));
  expect(missing.map(([op]) => op)).toEqual([]);
});
