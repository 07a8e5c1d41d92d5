import { expect, test } from "vitest";
import { printable } from "./printable.ts";

test("what steers a terminal is printed as what it is; text, lines and tabs stay", () => {
  const name = "conv\u001b[2J\u001b]0;owned\u0007\u009b31m\r\u007f";
  expect(printable(`${name}\n\tGröße → 日本`)).toBe("conv\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\x0d\\x7f\n\tGröße → 日本");
});
