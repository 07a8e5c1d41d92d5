import { expect, test } from "vitest";
import { engineNames, selectEngine } from "./select.ts";

test("every engine is found by its name", () => {
  expect(engineNames.map((name) => selectEngine(name).name)).toEqual([
    "onnxruntime",
    "onnxruntime",
    "native",
    "reference",
  ]);
});

test("an unknown engine is refused with the known ones", () => {
  expect(() => selectEngine("cuda" as "auto")).toThrow(
    'engine is "cuda"; expected auto, onnxruntime, native, reference.',
  );
});
