// What each of them really says where there is no more memory.
import { describe, expect, test } from "vitest";
import { isNativeBuilt } from "../../test/support/native.ts";
import { int64s, modelBytes, node, value } from "../../test/support/onnx-model.ts";
import { runModel } from "../../test/support/run-model.ts";
import { loadAddon } from "../engines/native/addon.ts";
import { FrostbitError } from "../ir/errors.ts";
import { tensorOf } from "../ir/tensor.ts";
import { outOfMemory } from "./out-of-memory.ts";

const thrownBy = async (run: () => unknown): Promise<unknown> => {
  try {
    await run();
  } catch (error) {
    return error;
  }
  return undefined;
};

const enormous = 2 ** 46;

describe("no more memory is an error of the user's, with what to do", () => {
  const sources: readonly (readonly [string, () => unknown])[] = [
    ["JavaScript", () => new ArrayBuffer(2 ** 52)],
    ["a typed array", () => new Float64Array(2 ** 50)],
    ...(isNativeBuilt ? [["the native engine", () => new (loadAddon().Memory)(enormous)] as const] : []),
    [
      "ONNX Runtime",
      () => {
        const bytes = modelBytes({
          nodes: [node("Expand", ["x", "sizes"], ["y"])],
          inputs: [value("x", [1])],
          initializers: [int64s("sizes", [enormous])],
        });
        return runModel(bytes, new Map([["x", tensorOf("float32", [1], [1])]]));
      },
    ],
  ];
  test.each(sources)("%s", async (_, run) => {
    const error = outOfMemory(await thrownBy(run));
    expect(error).toMatchObject({ code: "MEMORY" });
    expect(error?.message).toMatch(/^There was not enough memory: .*--accumulate/s);
  });
});

test("other errors stay what they are", () => {
  for (const error of [new Error("internal: x"), new FrostbitError("BAD_DATA", "No samples."), "text"])
    expect(outOfMemory(error)).toBeUndefined();
});
