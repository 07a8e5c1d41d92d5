import { expect, test } from "vitest";
import { tinyClassifier } from "../../test/support/tiny-classifier.ts";
import { runOptions } from "../options/recipe.ts";
import { placementNote } from "./placement-note.ts";

const inputs = { placement: "inputs", weights: 8, activations: 8 };
const note = (quantize: Readonly<Record<string, unknown>>, method = "ptq"): string | undefined =>
  placementNote(runOptions.parse({ quantize, methods: [method] }), tinyClassifier());

test("convolutions of 8 bits between float values, which only who asks for them has, are named as slow", () => {
  expect(note(inputs)).toMatch(/its 2 quantized convolutions in float.*--placement runtime/);
  for (const fast of [
    { placement: "runtime" },
    { target: "tensorrt" },
    { weights: 4 },
    { activations: 4 },
    { activations: "float" },
    { layers: { "conv*": "float" } },
    { layers: { conv1: 4 } },
  ])
    expect(note({ ...inputs, ...fast })).toBeUndefined();
});
