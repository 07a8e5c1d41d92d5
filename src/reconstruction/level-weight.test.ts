import { describe, expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { runGraph } from "../../test/support/run-graph.ts";
import { gradient } from "../autodiff/gradient.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { scalar, type Tensor, tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { codebookQparams, powerLevels } from "../quantizers/levels.ts";
import { quantizersOf } from "../quantizers/quantizer.ts";
import { placeIntegers, placeLevels } from "../rounding/grid.ts";
import { learnedParameters, learnedWeights, softenWeights } from "./soft-unit.ts";
import { variableOf } from "./weight-variables.ts";

const engine = createReferenceEngine();
const random = createRandom(11);
const x = random.tensor("float64", [3, 8]);
/** Some beyond the ends, some at 0. */
const weight = tensorOf(
  "float64",
  [8, 4],
  Array.from({ length: 32 }, (_, i) => (i % 9 === 0 ? 0 : 0.6 * random.normal())),
);
const scale = tensorOf("float64", [4], [0.5, 1, 0.7, -0.9]);

/** Σ c · (x · quantized), whose derivative by the weight is xᵀ c. */
function unitOf(levels: ArrayLike<number>, bits: number): Graph {
  const build = buildOn();
  const w = build.constant(weight, "w");
  const s = build.constant(scale, "s");
  const t = build.constant(tensorOf("float64", [levels.length], levels), "t");
  const quantized = build.node("LevelQuantize", [w, s, t], { axis: 1, bits }, "quantized");
  const y = build.node("MatMul", [build.input("x", { dtype: "float64", shape: [3, 8] }), quantized], {}, "y");
  return build.graph([y]);
}

function learn(unit: Graph, trainsScale: boolean) {
  const none = { ...unit, nodes: [], values: new Map(), constants: new Map() };
  const subset = { by: "magnitude", share: 1 } as const;
  const learning = { variable: "direct", trainsScale, subset } as const;
  const learned = learnedWeights({ quantized: unit, own: new Set(unit.constants.keys()) }, none, learning, 3);
  return { learned, soft: softenWeights(unit, learned), names: learnedParameters(learned).map(({ name }) => name) };
}

const withValue = (graph: Graph, name: string, value: Tensor): Graph => ({
  ...graph,
  constants: new Map([...graph.constants, [name, value]]),
});

const outputOf = async (graph: Graph): Promise<number[]> =>
  toNumbers((await runGraph(engine, graph, new Map([["x", x]]))).get("y") as Tensor);

const c = random.tensor("float64", [3, 4]);

/** Σ c · y and its gradients by these constants. */
async function lossOf(soft: Graph, names: readonly string[]): Promise<{ loss: number; gradients: number[][] }> {
  const build = buildOn(soft);
  const loss = build.node("ReduceSum", [build.node("Mul", ["y", build.constant(c, "c")])], { keepdims: 0 });
  const wanted = new Map(names.map((name) => [name, "all" as const]));
  const { graph, gradients } = gradient(build.graph([loss]), loss, wanted);
  const outputs = [loss, ...names.map((name) => gradients.get(name) ?? "")];
  const all = await runGraph(engine, { ...graph, outputs }, new Map([["x", x]]));
  const numbers = outputs.map((name) => toNumbers(all.get(name) as Tensor));
  return { loss: numbers[0][0], gradients: numbers.slice(1) };
}

const power = powerLevels(0.6, 4);
const codebook = codebookQparams(weight, { granularity: { axis: 1 }, bits: 3 }).levels as Tensor;

test.each([
  ["powers", power, true],
  ["a codebook", toNumbers(codebook), false],
])("starts where the quantizer is: %s", async (_, levels, trains) => {
  const unit = unitOf(levels, 4);
  const { soft, names } = learn(unit, trains);
  expect(names).toHaveLength(trains ? 2 : 1);
  const [expected, actual] = [await outputOf(unit), await outputOf(soft)];
  actual.forEach((value, i) => void expect(value).toBeCloseTo(expected[i], 10));
});

describe("of powers", () => {
  const unit = unitOf(power, 4);
  const { soft, learned, names } = learn(unit, true);
  const [offset, exponent] = names;

  test.each([0.6, 0.93, 1.4])("the gradient by the exponent %d agrees with finite differences", async (a) => {
    const at = (value: number) => withValue(soft, exponent, scalar("float64", value));
    const { gradients } = await lossOf(at(a), [exponent]);
    const h = 1e-7;
    const [above, below] = [await lossOf(at(a + h), []), await lossOf(at(a - h), [])];
    const slope = (above.loss - below.loss) / (2 * h);
    expect(Math.abs(slope)).toBeGreaterThan(0.01);
    expect(gradients[0][0] / slope).toBeCloseTo(1, 5);
  });

  test("the gradient by the weight passes straight through between the ends, and not beyond", async () => {
    const { gradients } = await lossOf(soft, [offset]);
    const step = 2 / 14;
    const [xs, cs, ws, ss] = [x, c, weight, scale].map(toNumbers);
    gradients[0].forEach((found, i) => {
      const [row, column] = [Math.floor(i / 4), i % 4];
      const through = [0, 1, 2].reduce((sum, n) => sum + xs[n * 8 + row] * cs[n * 4 + column], 0);
      const isInside = Math.abs(ws[i] / ss[column]) < 1;
      expect(found).toBeCloseTo(isInside ? through * ss[column] * step : 0, 10);
    });
  });

  test("what it becomes is what it was while it trained", async () => {
    const moved = random.tensor("float64", [8, 4]);
    const values = new Map([
      [offset, moved],
      [exponent, scalar("float64", 0.9)],
    ]);
    const trained = [...values].reduce((graph, [name, value]) => withValue(graph, name, value), soft);
    const [one] = learned.weights;
    const read = (name: string): Float64Array => Float64Array.from(toNumbers(values.get(name) as Tensor));
    const { integers, levels } = variableOf("direct", one).harden(one, read);
    const [quantizer] = quantizersOf(unit);
    const leveled = placeLevels(unit, quantizer, levels as Float64Array);
    const hard = placeIntegers(leveled, quantizersOf(leveled)[0], integers);
    const [expected, actual] = [await outputOf(trained), await outputOf(hard)];
    actual.forEach((value, i) => void expect(value).toBeCloseTo(expected[i], 10));
  });
});
