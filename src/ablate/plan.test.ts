import { describe, expect, test } from "vitest";
import type { MethodStep } from "../methods/method.ts";
import { runOptions } from "../options/recipe.ts";
import { type AblationPlan, ablationFromRecipe } from "./plan.ts";

const recipe = { quantize: { weights: 4 }, methods: [{ qdrop: { batch: 16 } }], seed: 5 };
const planOf = (ablate: unknown, base: object = recipe): AblationPlan =>
  ablationFromRecipe({ ...base, ablate }, "recipe.yaml");
const namesOf = ({ settings }: AblationPlan): readonly string[] => settings.map(({ name }) => name);

describe("an ablation", () => {
  test("varies one option at a time from the recipe, each for every seed", () => {
    const axes = { "qdrop.drop": [0, 0.5], "quantize.weights": [3, 4], seed: [1, 2], accuracies: ["deployed"] };
    const plan = planOf({ axes });
    // 0.5 is the default of drop, and 4 the recipe's weights.
    expect(namesOf(plan)).toEqual(["base", "qdrop.drop=0", "quantize.weights=3", "accuracies=deployed"]);
    expect(plan.cells.map(({ setting, seed }) => `${setting.name} ${seed}`).slice(0, 3)).toEqual([
      "base 1",
      "base 2",
      "qdrop.drop=0 1",
    ]);
    expect(plan.cells).toHaveLength(8);
    const parsed = (given: object) => runOptions.parse({ ...recipe, ...given });
    expect(plan.cells[1].options).toEqual(parsed({ seed: 2 }));
    expect(plan.cells[2].options).toEqual(parsed({ seed: 1, methods: [{ qdrop: { batch: 16, drop: 0 } }] }));
    expect(plan.cells[5].options).toEqual(parsed({ seed: 2, quantize: { weights: 3 } }));
    expect(plan.cells[6].options).toEqual(parsed({ seed: 1, accuracies: "deployed" }));
  });

  test("has lists as values of options that are lists", () => {
    const plan = planOf({ axes: { "qdrop.augment": [["flip"], ["crop", "flip"]] } });
    const augmentOf = ({ methods }: { readonly methods: readonly MethodStep[] }) => methods[1].options["augment"];
    expect(plan.cells.map(({ options }) => augmentOf(options))).toEqual([[], ["flip"], ["crop", "flip"]]);
  });

  test("is a grid where that is wanted, and the recipe itself is always in it", () => {
    const axes = { "qdrop.drop": [0, 0.25], "quantize.weights": [3, 4] };
    expect(namesOf(planOf({ design: "grid", axes }))).toEqual([
      "base",
      "qdrop.drop=0, quantize.weights=3",
      "qdrop.drop=0, quantize.weights=4",
      "qdrop.drop=0.25, quantize.weights=3",
      "qdrop.drop=0.25, quantize.weights=4",
    ]);
    expect(planOf({ design: "grid", axes }).seeds).toEqual([5]);
    expect(namesOf(planOf({ design: "grid", axes: { "qdrop.batch": [16, 8] } }))).toEqual(["base", "qdrop.batch=8"]);
  });

  test("may vary the methods, and leave options out", () => {
    const methods = planOf({ axes: { methods: [["adaround"], [{ brecq: { batch: 8 } }]] } });
    expect(methods.cells.map(({ options }) => options.methods.map(({ method }) => method))).toEqual([
      ["ptq", "qdrop"],
      ["ptq", "adaround"],
      ["ptq", "brecq"],
    ]);
    const left = planOf({ axes: { "qdrop.batch": [null], "quantize.firstLast": [null, 8] } });
    expect(namesOf(left)).toEqual(["base", "qdrop.batch=not given", "quantize.firstLast=8"]);
    expect(left.cells[1].options).toEqual(runOptions.parse({ ...recipe, methods: ["qdrop"] }));
  });

  test("a target goes on choosing what the recipe does not say", () => {
    const [, cell] = planOf({ axes: { "quantize.target": ["avx2"] } }, { methods: ["ptq"] }).cells;
    expect(cell.options).toEqual(runOptions.parse({ quantize: { target: "avx2" }, methods: ["ptq"] }));
    expect(cell.options.quantize).toMatchObject({ weights: 7, placement: "runtime" });
  });

  test("methods that are there twice are told apart by their places", () => {
    const twice = { methods: ["efqat", { qat: { lr: 0.1 } }, "qat"] };
    const plan = planOf({ axes: { "methods[1].qat.lr": [0.2], "efqat.updateRatio": [1] } }, twice);
    expect(plan.cells[1].options.methods[2].options["lr"]).toBe(0.2);
    expect(plan.cells[2].options.methods[1].options["updateRatio"]).toBe(1);
    expect(() => planOf({ axes: { "qat.lr": [0.2] } }, twice)).toThrow("did you mean methods[1].qat.lr?");
  });

  test("says what has no effect", () => {
    const base = { methods: [{ qdrop: { iterations: 10 } }] };
    expect(planOf({ axes: { "qdrop.preset": ["fast", "thorough"] } }, base).notes).toEqual([
      "ablate.axes.qdrop.preset: preset: no effect with iterations 10.",
    ]);
    expect(planOf({ axes: { "qdrop.drop": [0] } }).notes).toEqual([]);
  });
});

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i + 1);

test.each<readonly [unknown, string | RegExp]>([
  [undefined, 'recipe.yaml: expected a recipe with a section "ablate"'],
  [{}, "recipe.yaml: ablate: axes: expected paths of options, each with a list of values"],
  [{ axes: {} }, "recipe.yaml: ablate: axes: expected paths of options"],
  [{ axis: { seed: [1] } }, "recipe.yaml: ablate: axis: no such entry; did you mean axes?"],
  [{ "qdrop.drop": [0] }, "ablate: qdrop.drop: no such entry; expected design and axes; axes are named under axes."],
  [{ design: "random", axes: { seed: [1] } }, 'design is "random"; expected "one-at-a-time" or "grid".'],
  [
    { design: "grid", axes: { seed: numbers(1000), limit: numbers(500), "qdrop.batch": numbers(1000) } },
    "recipe.yaml: ablate: grid asks for 500000000 runs; expected 10000 at most.",
  ],
  [{ axes: { seed: numbers(5000), limit: numbers(2) } }, "one-at-a-time asks for 15000 runs; expected 10000 at most."],
  [
    { axes: { limit: numbers(20_000) } },
    "recipe.yaml: ablate.axes.limit: it has 20000 values; expected 10000 at most.",
  ],
  [{ axes: { seed: 1 } }, "recipe.yaml: ablate.axes.seed: it is 1; expected a list of values."],
  [{ axes: { seed: [1, 1] } }, "recipe.yaml: ablate.axes.seed: 1 is there twice."],
  [{ axes: { seed: [0.5] } }, "recipe.yaml: ablate.axes.seed[0]: seed is 0.5; expected a whole number of at least 0."],
  [
    { axes: { "qdrop.drop": [0, 2] } },
    "recipe.yaml: ablate.axes.qdrop.drop[1]: methods[0].qdrop.drop is 2; expected a number from 0 to 0.99.",
  ],
  [{ axes: { "qdrop.unit": ["blok"] } }, 'methods[0].qdrop.unit is "blok"; did you mean "block"? Expected "layer", '],
  [{ axes: { drop: [0] } }, "recipe.yaml: ablate.axes: drop: no such option; did you mean qdrop.drop?"],
  [{ axes: { "qdrop.dropp": [0] } }, "qdrop.dropp: no such option; did you mean qdrop.drop?"],
  [{ axes: { "qdrop.xyz": [0] } }, /qdrop\.xyz: no such option; expected one of qdrop\.preset, qdrop\.iterations, /],
  [
    { axes: { "brecq.batch": [0] } },
    "brecq.batch: no such option; expected quantize.OPTION, qdrop.OPTION, methods, seed, accuracies, limit.",
  ],
  [{ axes: { methods: [["qdropp"]] } }, 'ablate.axes.methods[0]: methods[0]: it is "qdropp"; did you mean qdrop?'],
  [{ axes: { "constructor.name": [1] } }, "constructor.name: no such option; expected quantize.OPTION"],
])("%j is refused", (ablate, message) => {
  expect(() => planOf(ablate)).toThrow(message);
});

test("the recipe is checked as any other", () => {
  expect(() => planOf({ axes: { seed: [1] } }, { methods: ["qdropp"] })).toThrow("recipe.yaml: methods[0]: it is");
});
