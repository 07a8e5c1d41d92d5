import { expect, test } from "vitest";
import { runOptions } from "./run-options.ts";

test("what prepares for quantizing is refused where nothing is quantized", () => {
  const prepare = ["bias-correction"];
  expect(() => runOptions.parse({ method: "float", prepare })).toThrow("is bias-correction; method float trains");
  expect(runOptions.parse({ method: "ptq", prepare }).prepare).toEqual(prepare);
});
