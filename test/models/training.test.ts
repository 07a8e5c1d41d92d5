// Quantization-aware training steps of whole models, on every engine.
import { describe, expect, test } from "vitest";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, type Tensor, toNumbers } from "../../src/ir/tensor.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import type { PlanShape } from "../../src/training/planned-step.ts";
import { expectClose, sqnr } from "../support/close.ts";
import { takeRows } from "../support/gradient-check.ts";
import { runGraph } from "../support/run-graph.ts";
import { quantized } from "./quantized.ts";
import { batchFor, classes, tinyModels } from "./tiny-models.ts";
import { type Rows, train } from "./train.ts";

const reference = createReferenceEngine();
const onnxruntime = createOnnxRuntimeEngine();
/** Every third row of each weight, of the last one none. */
function someRows(graph: Graph): Rows {
  const layers = linearLayers(graph);
  return new Map(
    layers.map(({ weight, rowAxis }, i) => {
      const count = graph.constants.get(weight)?.shape[rowAxis] ?? 0;
      const rows = Array.from({ length: count }, (_, row) => row).filter((row) => row % 3 === 1);
      return [weight, i === layers.length - 1 ? [] : rows];
    }),
  );
}

const isOptimizerState = (name: string): boolean => name.includes("/");

const byRows = (graph: Graph): PlanShape => new Map(linearLayers(graph).map(({ weight }) => [weight, "rows"]));

describe.each(tinyModels)("$name", (model) => {
  test.each(["inputs", "runtime"] as const)(
    "with quantizers in placement %s, both engines' losses agree at first, and fall",
    async (placement) => {
      const graph = await quantized(model, "float32", { placement, weights: 8, activations: 8 });
      const options = { dtype: "float32", steps: 6 } as const;
      const slow = await train(model, graph, { engine: reference, ...options });
      const fast = await train(model, graph, { engine: onnxruntime, ...options });
      expect(Math.abs(fast.losses[0] / slow.losses[0] - 1)).toBeLessThan(1e-3);
      for (const { losses } of [slow, fast]) expect(losses[5], losses.join(", ")).toBeLessThan(0.95 * losses[0]);
    },
  );

  test("selected rows take the step that a whole step takes; frozen ones and their scales keep their bytes", async () => {
    const graph = await quantized(model, "float64", { weights: 4, activations: 8 });
    const rows = someRows(graph);
    const whole = await train(model, graph, { engine: reference, dtype: "float64" });
    const partial = await train(model, graph, { engine: reference, dtype: "float64", plan: byRows(graph), rows });
    for (const [name, after] of partial.variables) {
      if (isOptimizerState(name)) continue;
      const layer = linearLayers(graph).find(({ weight }) => name === weight || name === `${weight}_scale`);
      const trained = whole.variables.get(name) as Tensor;
      if (!layer) expectClose(after, trained, { what: name });
      else
        expectRows(
          after,
          { trained, frozen: graph.constants.get(name) as Tensor },
          layer.rowAxis,
          rows.get(layer.weight),
          name,
        );
    }
  });

  test.each<[string, (graph: Graph) => Rows]>([
    ["by some rows", someRows],
    ["by no rows", () => new Map()],
  ])("%s, both engines take the same step", async (_, choose) => {
    const graph = await quantized(model, "float32");
    const options = { dtype: "float32", plan: byRows(graph), rows: choose(graph), steps: 1 } as const;
    const slow = await train(model, graph, { engine: reference, ...options });
    const fast = await train(model, graph, { engine: onnxruntime, ...options });
    expect(Math.abs(fast.losses[0] / slow.losses[0] - 1)).toBeLessThan(1e-3);
    for (const { weight } of linearLayers(graph)) {
      const [a, b, start] = [fast.variables, slow.variables, graph.constants].map((values) =>
        numbersOf(values.get(weight) as Tensor),
      );
      const change = (values: typeof a): Float64Array => Float64Array.from(values, (value, i) => value - start[i]);
      expect(sqnr(change(a), change(b)), `change of ${weight}, dB`).toBeGreaterThan(20);
    }
  });

  test("any batch runs on both engines, and samples do not see each other", async () => {
    const graph = await quantized(model, "float32", { placement: "runtime" });
    const { images } = batchFor(model, "float32", 5);
    const one = { ...images, shape: images.shape.with(0, 1), data: images.data.slice(0, images.data.length / 5) };
    for (const engine of [reference, onnxruntime]) {
      const [many, single] = [
        await runGraph(engine, graph, new Map([["input", images]])),
        await runGraph(engine, graph, new Map([["input", one]])),
      ];
      const [all, first] = [many, single].map((outputs) => outputs.get(graph.outputs[0]) as Tensor);
      expect(all.shape).toEqual([5, classes]);
      expectClose(toNumbers(first), toNumbers(all).slice(0, classes), {
        as: "float32",
        widen: { factor: 10, because: "another batch may take another kernel" },
      });
    }
  });
});

function expectRows(
  after: Tensor,
  expected: { readonly trained: Tensor; readonly frozen: Tensor },
  rowAxis: number,
  rows: readonly number[] = [],
  name: string,
): void {
  const axis = Math.min(rowAxis, after.shape.length - 1);
  const others = Array.from({ length: after.shape[axis] }, (_, row) => row).filter((row) => !rows.includes(row));
  expect(takeRows(after, axis, others), `frozen rows of ${name}`).toEqual(takeRows(expected.frozen, axis, others));
  expectClose(takeRows(after, axis, rows), takeRows(expected.trained, axis, rows), { what: `rows of ${name}` });
}
