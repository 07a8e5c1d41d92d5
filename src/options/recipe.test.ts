import { describe, expect, test } from "vitest";
import { runFromFlags } from "../cli/method-flags.ts";
import { recipeOf, runFromRecipe, runOptions, unusedInRecipe } from "./recipe.ts";

const where = "recipe.yaml";
const chain = {
  quantize: { target: "avx2", weights: 4, observer: "mse", layers: { conv1: 8 } },
  methods: [
    "cross-layer-equalization",
    { "bias-correction": null },
    { efqat: { updateRatio: 0.25, lr: 0.03, batch: 32 } },
    { qat: { lr: 0.001, batch: 32, qparamTraining: "log2" } },
  ],
  seed: 7,
};

describe("recipes", () => {
  test("say what flags would", () => {
    const flags = {
      target: "avx2",
      weights: "4",
      observer: "mse",
      layers: "conv1=8",
      seed: "7",
      prepare: "bias-correction,cross-layer-equalization",
      method: "efqat",
      updateRatio: "1/4",
      lr: "0.03",
    };
    const methods = [...chain.methods.slice(0, 2), { efqat: { updateRatio: 0.25, lr: 0.03 } }];
    expect(runFromRecipe({ ...chain, methods }, where)).toEqual(runFromFlags(flags).run);
  });

  test("have calibration between what comes before and after it, where they do not name it", () => {
    const namesOf = (methods: readonly unknown[]): readonly string[] =>
      runFromRecipe({ methods }, where).methods.map(({ method }) => method);
    expect(namesOf(chain.methods)).toEqual(["cross-layer-equalization", "ptq", "bias-correction", "efqat", "qat"]);
    expect(namesOf(["cross-layer-equalization", "ptq"])).toEqual(["cross-layer-equalization", "ptq"]);
    expect(namesOf([])).toEqual(["ptq"]);
    expect(namesOf(["float"])).toEqual(["float"]);
  });

  test("are what the library is told", () => {
    expect(runOptions.parse(chain)).toEqual(runFromRecipe(chain, where));
    expect(() => runOptions.parse({ weights: 4 })).toThrow("options: weights: no such option; quantize has it; ");
    expect(() => runOptions.parse({ method: "qat" })).toThrow("method: no such option; did you mean methods?");
  });

  test("are written as they are read", () => {
    const run = runFromRecipe(chain, where);
    expect(runFromRecipe(JSON.parse(JSON.stringify(recipeOf(run))), where)).toEqual(run);
    const ptq = runFromRecipe({ quantize: { activations: 4 }, limit: 9 }, where);
    expect(ptq).toMatchObject({ methods: [{ method: "ptq" }], quantize: { activations: 4 }, limit: 9 });
    expect(runFromRecipe(recipeOf(ptq), where)).toEqual(ptq);
  });

  test("say what has no effect, but not of what is the default", () => {
    const methods = [
      { efqat: { optimizer: "adam", momentum: 0.5, milestones: [0.2] } },
      { qat: { steps: 4, epochs: 2 } },
    ];
    const run = runFromRecipe({ quantize: { weights: 4 }, methods }, where);
    const notes = [
      "momentum: no effect with optimizer adam.",
      "milestones: no effect with schedule constant.",
      "epochs: no effect with steps 4.",
    ];
    expect(unusedInRecipe(run)).toEqual(notes);
    expect(unusedInRecipe(runFromRecipe(recipeOf(run), where))).toEqual(notes);
    expect(unusedInRecipe(runFromRecipe(recipeOf(runFromRecipe({ methods: ["qat"] }, where)), where))).toEqual([]);
    const float = { quantize: { weights: 4 }, methods: [{ float: { qparamLr: 0.1 } }] };
    expect(unusedInRecipe(runFromRecipe(float, where))).toEqual(["weights, qparamLr: no effect with method float."]);
  });

  test.each([
    [{ quantise: {} }, "recipe.yaml: quantise: no such option; did you mean quantize?"],
    [{ quantize: { wheights: 4 } }, "recipe.yaml: quantize: wheights: no such option; did you mean weights?"],
    [{ quantize: { width: 4 } }, /^recipe\.yaml: quantize: width: no such option; expected target, weights, /],
    [{ quantize: { weights: 40 } }, "recipe.yaml: quantize.weights is 40; expected a whole number from 2 to 8."],
    [{ methods: [{ qat: { lr: "fast" } }] }, 'recipe.yaml: methods[0].qat.lr is "fast"; expected a number above 0.'],
    [
      { methods: [{ qta: {} }] },
      /^recipe\.yaml: methods\[0\]: it is \{"qta":\{\}\}; did you mean qat\? Expected one of /,
    ],
    [
      { quantize: { observer: "min_max" } },
      'quantize.observer is "min_max"; did you mean "min-max"? Expected "min-max", ',
    ],
    [
      { methods: [{ qat: { updateRatio: 1 } }] },
      /^recipe\.yaml: methods\[0\]\.qat: updateRatio: no such option; efqat has it; expected optimizer, lr, /,
    ],
    [{ methods: [{ qat: { weights: 4 } }] }, "methods[0].qat: weights: no such option; quantize has it; expected "],
    [{ methods: ["ptqq"] }, /^recipe\.yaml: methods\[0\]: it is "ptqq"; did you mean ptq\? Expected one of ptq, /],
    [{ methods: ["hqq"] }, /^recipe\.yaml: methods\[0\]: it is "hqq"; expected one of ptq, /],
    [{ methods: [{ qat: { lr: -1 } }] }, /^recipe\.yaml: methods\[0\]\.qat\.lr is -1; expected a number above 0/],
    [{ quantize: { weights: 1 } }, /^recipe\.yaml: quantize\.weights is 1; expected a whole number/],
    [{ seed: 0.5 }, /^recipe\.yaml: seed is 0\.5; expected a whole number of at least 0/],
    [{ methods: ["qat", "bias-correction"] }, "recipe.yaml: methods[1].bias-correction: it cannot come after qat."],
    [
      { methods: ["ptq", "cross-layer-equalization"] },
      "methods[1].cross-layer-equalization: it cannot come after ptq.",
    ],
    [{ methods: ["bias-correction", "bias-correction"] }, "methods[1].bias-correction: it is there twice."],
    [{ methods: ["float", "qat"] }, /methods\[0\]\.float: a float model is trained alone/],
    [{ methods: ["bias-correction", "float"] }, /methods\[1\]\.float: a float model is trained alone/],
    [
      { methods: [{ qat: { accumulate: 3 } }] },
      /qat\.accumulate is 3; expected a number that divides the batch of 128/,
    ],
    [{ methods: [{ qat: { schedule: "one-cycle", warmup: 0.1 } }] }, /one-cycle has its own warm-up/],
    [{ methods: [{ qat: { schedule: "step", milestones: [0.7, 0.3] } }] }, /is 0\.7,0\.3; expected numbers that rise/],
    [[1], "recipe.yaml: expected names and values, of quantize, methods, goal, seed, accuracies, limit."],
  ])("%j is refused", (content, message) => {
    expect(() => runFromRecipe(content, where)).toThrow(message);
  });

  test.each(["constructor", "__proto__", "toString", "hasOwnProperty"])(
    "%s, which every object has, is the name of nothing",
    (name) => {
      const object = (value: unknown): object => JSON.parse(`{ "${name}": ${JSON.stringify(value)} }`) as object;
      const refused = (content: unknown, message: RegExp): void =>
        expect(() => runFromRecipe(content, where)).toThrow(message);
      refused({ methods: [object({ lr: 1 })] }, /methods\[0\]: it is .*; expected one of ptq, /);
      refused({ methods: [name] }, /methods\[0\]: it is .*; expected one of ptq, /);
      refused({ methods: [{ qat: object(1) }] }, /methods\[0\]\.qat: .*: no such option; expected optimizer/);
      refused({ quantize: object(1) }, /quantize: .*: no such option; expected target/);
      refused(object(1), /recipe\.yaml: .*: no such option; expected quantize/);
    },
  );

  test("a layer called as what every object has is looked for, or refused", () => {
    const content = (name: string): unknown => JSON.parse(`{ "quantize": { "layers": { "${name}": 4 } } }`);
    expect(Object.keys(runFromRecipe(content("constructor"), where).quantize.layers)).toEqual(["constructor"]);
    expect(() => runFromRecipe(content("__proto__"), where)).toThrow(
      "recipe.yaml: quantize.layers: nothing can be called __proto__.",
    );
    expect(() => runFromFlags({ layers: "__proto__=4" })).toThrow("--layers: nothing can be called __proto__.");
  });
});

describe("training scales as powers of two", () => {
  const by = (method: string, qparamTraining: string) => ({ [method]: { qparamTraining } });

  test("cannot follow what leaves them otherwise", () => {
    const methods = [by("efqat", "tqt"), by("qat", "tqt"), by("efqat", "direct"), by("qat", "tqt")];
    expect(() => runFromRecipe({ methods }, where)).toThrow(
      /methods\[3\]\.qat\.qparamTraining is tqt, .+; efqat before it, by direct, leaves them otherwise\./,
    );
  });

  test.each([
    [[by("efqat", "tqt")]],
    [[by("efqat", "tqt"), by("qat", "tqt")]],
    [["bias-correction", by("efqat", "tqt"), by("qat", "direct")]],
  ])("is right in %j", (methods) => {
    expect(() => runFromRecipe({ methods }, where)).not.toThrow();
  });
});
