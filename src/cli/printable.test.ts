import { expect, test } from "vitest";
import { printable, printableJson, printableLines } from "./printable.ts";

test("what steers a terminal, ends a line or turns text is printed as what it is", () => {
  const name = "conv\u001b[2J\u001b]0;owned\u0007\u009b31m\r\u007f";
  expect(printable(`${name}\n\tGröße → 日本`)).toBe(
    "conv\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\x0d\\x7f\\x0a\\x09Größe → 日本",
  );
  expect(printable("a\u202eb\u2066c\u200bd\u200ee\u2028f\u2029g\ufeffh\u{e0041}i\u061cj\u0085k\ud800l")).toBe(
    "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{200e}e\\u{2028}f\\u{2029}g\\u{feff}h\\u{e0041}i\\u{61c}j\\x85k\\u{d800}l",
  );
});

test("lines are ours, a line end within one is not", () => {
  expect(printableLines(["error: a\nerror: b", "c"])).toBe("error: a\\x0aerror: b\nc");
});

test("long names and long lines are cut, and say how long they are", () => {
  const long = printable(`Node "${"n".repeat(1e6)}" has no "w". Leave it out.`);
  expect(long).toBe(`Node "${"n".repeat(199)}… (1000002 characters) has no "w". Leave it out.`);
  expect(printable("w w ".repeat(250_000))).toHaveLength(10_000 + "… (1000000 characters)".length);
  expect(printable("\u202e".repeat(1e6)).length).toBeLessThan(3000);
  const plain = "a ".repeat(2000);
  expect(printable(plain)).toBe(plain);
});

test("JSON holds the same, without characters that are not seen", () => {
  const value = { "a\u202e\n": "\u007f\u2028\u{e0041}\ud800 é 日本 \u001b" };
  const text = printableJson(value);
  expect(text).toBe('{"a\\u202e\\n":"\\u007f\\u2028\\udb40\\udc41\\ud800 é 日本 \\u001b"}');
  expect(JSON.parse(text)).toEqual(value);
});
