import { describe, expect, test } from "vitest";
import { tinyClassifier, tinySize } from "../../test/support/tiny-classifier.ts";
import { memoryDataset } from "../data/memory-dataset.ts";
import { preprocessPresets } from "../data/preprocess.ts";
import { zeros } from "../ir/tensor.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import { methodOf } from "./index.ts";
import type { Fields, MethodModel } from "./method.ts";

const graph = tinyClassifier("float32");
const quantize = quantizeOptions.parse({});
const model: MethodModel = { graph, original: graph, float: graph, quantize, outputs: undefined };

function check(name: string, options: Fields, shape: readonly number[]): void {
  const train = memoryDataset("rows", new Map([["input", zeros("float32", [40, ...shape])]]));
  const method = methodOf({ method: name });
  method.check(model, { train, preprocess: preprocessPresets.none }, method.options.parse(options));
}

const image = [3, tinySize, tinySize];

describe("images that units train with are changed", () => {
  test("where there are any", () => {
    expect(() => check("qdrop", { augment: ["flip"] }, image)).not.toThrow();
    expect(() => check("brecq", { augment: ["crop", "flip"] }, [4])).toThrow(
      'augment is crop,flip, and no input of "rows" is known to hold images. Name those that do with --preprocess-inputs, or leave augment out.',
    );
    expect(() => check("qdrop", { augment: ["flip"], calibration: "noise" }, [4])).not.toThrow();
  });

  test("and each copy is held", () => {
    const { options, heldBytes } = methodOf({ method: "qdrop" });
    const held = (given: Fields): number => heldBytes(model, options.parse(given), 40);
    expect(held({ augment: ["flip"], augmentedCopies: 3 })).toBe(3 * held({}));
    expect(held({ augmentedCopies: 3 })).toBe(held({}));
  });
});
