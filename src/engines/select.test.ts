import { expect, test } from "vitest";
import { engineNames, selectEngine } from "./select.ts";
import { engineEntries } from "./table.ts";

test("every engine is found by its name", () => {
  expect(engineNames.map((name) => selectEngine(name).name)).toEqual([
    "onnxruntime",
    "onnxruntime",
    "native",
    "reference",
  ]);
});

test("auto has one fallback, which is available everywhere", () => {
  const fallbacks = engineEntries.filter(([, { auto }]) => auto === "fallback");
  expect(fallbacks.map(([name, { isAvailable }]) => [name, isAvailable()])).toEqual([["onnxruntime", true]]);
});

test("an unknown engine is refused with the known ones", () => {
  expect(() => selectEngine("cuda" as "auto")).toThrow(
    'engine is "cuda"; expected "auto", "onnxruntime", "native", "reference".',
  );
});
