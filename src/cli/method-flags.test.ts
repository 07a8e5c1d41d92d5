import { describe, expect, test } from "vitest";
import { runFlags, runFromFlags } from "./method-flags.ts";

const unused = (flags: Readonly<Record<string, unknown>>): readonly string[] => runFromFlags(flags).unused;

describe("flags go to the methods that have them", () => {
  test("without a method or an option of one, a goal is looked for; what is given of quantization is fixed", () => {
    const { goal } = runFromFlags({ weights: "4", maxDrop: "1", budget: "10m", maxSize: "120kB" }).run;
    expect(goal).toEqual({ maxDrop: 1, budget: "10m", maxSize: "120kB", fixed: ["weights"] });
    expect(runFromFlags({}).run.goal).toEqual({ fixed: [] });
    expect(runFromFlags({ maxBits: "3", method: "ptq" }).run.goal).toBeUndefined();
    expect(() => runFromFlags({ maxDrop: "1", method: "qat" })).toThrow(/--max-drop is a goal.*--method names what/);
  });

  test("with an option of training and no --method, EfQAT runs", () => {
    const { methods } = runFromFlags({ updateRatio: "0.3", lr: "0.1" }).run;
    expect(methods).toMatchObject([{ method: "ptq" }, { method: "efqat", options: { updateRatio: 0.3, lr: 0.1 } }]);
  });

  test("rounding alone at few bits gets the ranges that keep accuracy, unless a flag decides them", () => {
    const chosen = (flags: Readonly<Record<string, string>>) => {
      const { methods, quantize } = runFromFlags({ method: "ptq", ...flags }).run;
      return [...methods.map(({ method }) => method), quantize.observer];
    };
    expect(chosen({ weights: "4" })).toEqual(["ptq", "output-error-ranges", "mse"]);
    expect(chosen({ weights: "4", activations: "4" })).toEqual(["ptq", "output-error-ranges", "mse"]);
    expect(chosen({ maxBits: "3" })).toEqual(["mixed-precision", "ptq", "output-error-ranges", "mse"]);
    expect(chosen({ weights: "4", observer: "min-max" })).toEqual(["ptq", "min-max"]);
    expect(chosen({ weights: "4", prepare: "bias-correction" })).toEqual(["ptq", "bias-correction", "min-max"]);
    expect(chosen({ weights: "4", activations: "float" })).toEqual(["ptq", "min-max"]);
    expect(chosen({})).toEqual(["ptq", "min-max"]);
    expect(chosen({ method: "gptq", weights: "4", activations: "4" })).toEqual(["ptq", "gptq", "mse"]);
    expect(chosen({ method: "gptq", weights: "4" })).toEqual(["ptq", "gptq", "min-max"]);
    expect(chosen({ method: "efqat", weights: "4" })).toEqual(["ptq", "efqat", "min-max"]);
  });

  test("one count of samples serves whatever takes some, but where a count of its own is given", () => {
    const countsOf = (flags: Readonly<Record<string, string>>) => {
      const { quantize, methods } = runFromFlags(flags).run;
      const own = methods.flatMap(({ options }) =>
        ["roundingSamples", "trainingSamples"].map((name) => (options as Readonly<Record<string, unknown>>)[name]),
      );
      return [quantize.calibrationSamples, ...own.filter((count) => count !== undefined)];
    };
    expect(countsOf({ method: "adaround", samples: "300" })).toEqual([300, 300]);
    expect(countsOf({ method: "adaround", samples: "300", roundingSamples: "64" })).toEqual([300, 64]);
    expect(countsOf({ method: "qdrop", samples: "300" })).toEqual([300, 300]);
    expect(unused({ method: "adaround", samples: "300" })).toEqual([]);
    expect(runFromFlags({ samples: "300" }).run).toMatchObject({
      goal: { fixed: ["calibrationSamples"] },
      quantize: { calibrationSamples: 300 },
    });
    expect(() => runFromFlags({ method: "gptq", samples: "many" })).toThrow(/--samples is many; /);
  });

  test("several methods have the same flag", () => {
    const { run } = runFromFlags({ method: "qat,efqat", steps: "3", mode: "lwpn" });
    expect(run.methods).toMatchObject([
      { method: "ptq" },
      { method: "qat", options: { steps: 3 } },
      { method: "efqat", options: { steps: 3, mode: "lwpn" } },
    ]);
    expect(Object.keys(run.methods[1].options)).not.toContain("mode");
  });

  test("methods run in the order of their phases", () => {
    const { run } = runFromFlags({ method: "qat", prepare: "bias-correction,cross-layer-equalization" });
    expect(run.methods.map(({ method }) => method)).toEqual([
      "cross-layer-equalization",
      "ptq",
      "bias-correction",
      "qat",
    ]);
  });

  test("weights are rounded before biases are corrected, whichever is named first", () => {
    const { run } = runFromFlags({ method: "efqat", prepare: "bias-correction,adaround" });
    expect(run.methods.map(({ method }) => method)).toEqual(["ptq", "adaround", "bias-correction", "efqat"]);
  });

  test("a flag that means the same in several methods is described once", () => {
    const descriptionOf = (name: string): string | undefined =>
      Object.entries(runFlags.shape).find(([flag]) => flag === name)?.[1].description;
    const description = descriptionOf("drop");
    expect(description).toMatch(/^Probability with which each element of an activation stays/);
    expect(description?.match(/Probability/g)).toHaveLength(1);
    expect(descriptionOf("iterations")).toMatch(/adaround: .* qdrop/);
  });

  test("each name is one flag", () => {
    expect(Object.keys(runFlags.shape)).toContain("updateRatio");
    expect(runFlags.shape["method"].description).toContain("qat trains everything");
  });
});

describe("flags without effect", () => {
  test("what only training or EfQAT has does nothing in PTQ", () => {
    const given = { weights: "4", mode: "cwpl", updateRatio: "0.3", lr: "0.1", observer: "mse", resume: true };
    expect(unused({ method: "ptq", ...given })).toEqual([
      "--mode, --update-ratio, --lr, --resume: no effect with --method ptq.",
    ]);
  });

  test("what EfQAT chooses by does nothing in QAT, what quantizers have in float training", () => {
    expect(unused({ method: "qat", refreshEvery: "64", lr: "0.1", qparamLr: "0.1" })).toEqual([
      "--refresh-every: no effect with --method qat.",
    ]);
    expect(unused({ method: "float", qparamLr: "0.1", weights: "4", lr: "0.1", storage: "int8" })).toEqual([
      "--weights, --storage, --qparam-lr: no effect with --method float.",
    ]);
  });

  test("options of another optimizer or schedule, and epochs beside steps, do nothing", () => {
    expect(unused({ optimizer: "adam", momentum: "0.5", decay: "0.5", epochs: "2", steps: "3" })).toEqual([
      "--momentum: no effect with --optimizer adam.",
      "--decay: no effect with --schedule constant.",
      "--epochs: no effect with --steps 3.",
    ]);
    expect(unused({ momentum: "0.5", schedule: "step", decay: "0.5", milestones: "0.5", epochs: "2" })).toEqual([]);
  });

  test("what calibrates needs no training to have an effect", () => {
    expect(unused({ method: "ptq", prepare: "bias-correction", target: "web", seed: "3", limit: "9" })).toEqual([]);
  });
});

describe("flags are refused", () => {
  test.each([
    [{ method: "qta" }, '--method is qta; did you mean "qat"? Expected'],
    [{ method: "constructor" }, "--method is constructor; expected values separated by commas, each "],
    [{ method: "" }, "--method is ; expected values separated by commas, each "],
    [
      { prepare: "qat" },
      '--prepare is qat; expected values separated by commas, each "cross-layer-equalization", "smooth-quant", "awq", "mixed-precision", "adaround", ',
    ],
    [{ weights: "9" }, "--weights is 9; expected a whole number from 2 to 8."],
    [{ updateRatio: "3" }, "--update-ratio is 3; expected a number from 0 to 1."],
    [{ method: "ptq", updateRatio: "3" }, "--update-ratio is 3; expected a number from 0 to 1."],
    [{ seed: "-1" }, "--seed is -1; expected a whole number of at least 0."],
    [{ method: "qat", accumulate: "3" }, "--accumulate is 3; expected a number that divides the batch of 128."],
    [
      { method: "qat,efqat", accumulate: "3" },
      /^--accumulate is 3; expected a number that divides the batch of 128\.$/,
    ],
    [{ target: "avx2", weights: "8" }, "--weights is 8; with 8 bits, sums of two products overflow"],
    [{ method: "float", prepare: "bias-correction" }, "--method float: a float model is trained alone, without other"],
    [{ method: "gptq", prepare: "adaround" }, "--method gptq: adaround rounds the weights already."],
    [{ prepare: "bias-correction,bias-correction" }, "--prepare bias-correction: it is there twice."],
  ])("%j", (flags, message) => {
    expect(() => runFromFlags(flags)).toThrow(message);
  });
});
