import { describe, expect, test } from "vitest";
import { recipeOf, runFromRecipe, unusedInRecipe } from "./recipe.ts";
import { runOptions } from "./run-options.ts";

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
    const { options, later } = runFromRecipe(chain, where);
    const shared = { target: "avx2", weights: 4, observer: "mse", layers: { conv1: 8 }, seed: 7 };
    const prepare = ["cross-layer-equalization", "bias-correction"];
    expect(options).toEqual(
      runOptions.parse({ ...shared, prepare, method: "efqat", updateRatio: 0.25, lr: 0.03, batch: 32 }),
    );
    expect(later).toEqual([
      runOptions.parse({ ...shared, prepare, method: "qat", lr: 0.001, batch: 32, qparamTraining: "log2" }),
    ]);
  });

  test("are written as they are read", () => {
    const run = runFromRecipe(chain, where);
    expect(runFromRecipe(JSON.parse(JSON.stringify(recipeOf(run))), where)).toEqual(run);
    const ptq = runFromRecipe({ quantize: { activations: 4 }, limit: 9 }, where);
    expect(ptq.options).toMatchObject({ method: "ptq", activations: 4, limit: 9 });
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
    expect(unusedInRecipe(runFromRecipe({ quantize: { weights: 4 }, methods: ["float"] }, where))).toEqual([
      "weights: no effect with method float.",
    ]);
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
    [{ methods: ["gptq"] }, /^recipe\.yaml: methods\[0\]: it is "gptq"; expected one of cross-layer-equalization, /],
    [{ methods: [{ qat: { lr: -1 } }] }, /^recipe\.yaml: methods\[0\]\.qat\.lr is -1; expected a number above 0/],
    [{ quantize: { weights: 1 } }, /^recipe\.yaml: quantize\.weights is 1; expected a whole number/],
    [{ methods: ["qat", "bias-correction"] }, "recipe.yaml: methods[1].bias-correction: it cannot come after qat."],
    [{ methods: ["float", "qat"] }, /methods\[0\]\.float: a float model is trained alone/],
    [{ methods: [{ qat: { accumulate: 3 } }] }, /qat\.accumulate is 3; expected a number that divides the batch/],
    [[1], "recipe.yaml: expected names and values, of quantize, methods, seed, accuracies, limit."],
  ])("%j is refused", (content, message) => {
    expect(() => runFromRecipe(content, where)).toThrow(message);
  });
});
