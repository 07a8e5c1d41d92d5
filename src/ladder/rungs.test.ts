import { expect, test } from "vitest";
import { runOptions } from "../options/recipe.ts";
import { flagsOf } from "./ladder-report.ts";
import { besideFixed, besideFloatLayers, inFloat, rungsAsGiven } from "./rungs.ts";

test("layers in float stand beside those whose bits were given", () => {
  const [rung] = rungsAsGiven;
  const fixed = { weights: 4, layers: { first: 8 } };
  const together = besideFixed(inFloat(rung, ["head"]), fixed);
  expect(together).toEqual({ observer: "min-max", weights: 4, layers: { head: "float", first: 8 } });
  expect(besideFixed(inFloat(rung, ["first"]), fixed)["layers"]).toEqual({ first: 8 });
  expect(besideFixed(rung, { weights: 4 })).toEqual({ observer: "min-max", weights: 4 });
  const run = runOptions.parse({ quantize: fixed, goal: {} });
  expect(flagsOf(inFloat(rung, ["head"]), run)).toBe(
    "--method ptq --observer min-max --layers 'head=float,first=8' --weights 4",
  );
  const apostrophe = flagsOf(inFloat(rung, ["it's head"]), run);
  expect(apostrophe).toBe("--method ptq --observer min-max --layers 'it'\\''s head=float,first=8' --weights 4");
});

test("layers computed with floats are told to the command, and what was said of their weights stays", () => {
  const [rung] = rungsAsGiven;
  const run = runOptions.parse({ quantize: {}, goal: {} });
  const given = { ...rung, quantize: { ...rung.quantize, layers: { depthwise: 8 } } };
  expect(flagsOf(besideFloatLayers(given, ["first", "depthwise"]), run)).toBe(
    '--method ptq --observer min-max --layers \'{"depthwise":{"weights":8,"activations":"float"},"first":{"activations":"float"}}\'',
  );
});
