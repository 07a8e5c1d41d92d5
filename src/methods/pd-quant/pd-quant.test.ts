import { expect, test } from "vitest";
import { tinyClassifier, tinySize } from "../../../test/support/tiny-classifier.ts";
import { memoryDataset } from "../../data/memory-dataset.ts";
import { preprocessPresets } from "../../data/preprocess.ts";
import type { Graph } from "../../ir/graph.ts";
import { zeros } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { quantizeOptions } from "../../quantizers/quantize-options.ts";
import { pdQuantMethod } from "./method.ts";

const { options, check, heldBytes } = pdQuantMethod;

/** A linear layer alone. */
function withoutNormalization(): Graph {
  const build = buildOn();
  const x = build.input("input", { dtype: "float32", shape: ["N", 4] });
  return build.graph([build.node("MatMul", [x, build.constant(zeros("float32", [4, 3]))], {}, "layer")]);
}

const modelOf = (graph: Graph) => ({
  ...{ graph, original: graph, float: graph, outputs: undefined },
  quantize: quantizeOptions.parse({}),
});

test.each([
  ["a model with normalization", tinyClassifier("float32"), [3, tinySize, tinySize], undefined],
  [
    "one without",
    withoutNormalization(),
    [4],
    "correctionIterations is 5, and the model has no batch normalization whose statistics say what its inputs were like. Leave correctionIterations out.",
  ],
] as const)("inputs of %s are corrected, or it is said why not", (_, graph, shape, fault) => {
  const train = memoryDataset("rows", new Map([["input", zeros("float32", [40, ...shape])]]));
  const checked = (iterations: number) => (): void =>
    check(
      modelOf(graph),
      { train, preprocess: preprocessPresets.none },
      options.parse({ correctionIterations: iterations }),
    );
  expect(checked(0)).not.toThrow();
  if (fault === undefined) expect(checked(5)).not.toThrow();
  else expect(checked(5)).toThrow(fault);
});

test("inputs that are corrected are held beside those that are not", () => {
  const held = (correctionIterations: number): number =>
    heldBytes(modelOf(tinyClassifier("float32")), options.parse({ correctionIterations }), 40);
  expect(held(5)).toBe(1.5 * held(0));
});
