import { expect, test } from "vitest";
import { readModel } from "./read-model.ts";

test("bytes in the place of a path are not printed", () => {
  expect(() => readModel(new Uint8Array(1000) as never)).toThrow(
    "readModel takes the path of a file; readOnnx reads bytes.",
  );
});
