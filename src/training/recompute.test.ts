import { expect, test } from "vitest";
import { gradient } from "../autodiff/gradient.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { peakBytes } from "../passes/peak-bytes.ts";
import { recomputeSegments } from "./recompute.ts";

const engine = createReferenceEngine();
const blocks = 6;
const [rows, width] = [32, 4];

/** x ← x + tanh(split(x · w)) · split(x · w), six times, and the gradient of the sum of squares with respect to each w. */
function network() {
  const build = buildOn();
  let x = build.input("x", { dtype: "float64", shape: [rows, width] });
  const segments: Set<string>[] = [];
  const names = (): Set<string> => new Set(build.graph([]).nodes.map(({ name }) => name));
  for (let i = 0; i < blocks; i++) {
    const before = names();
    const values = Array.from({ length: width * 2 * width }, (_, k) => Math.sin(k + i) / 2);
    const w = build.constant(tensorOf("float64", [width, 2 * width], values), `w${i}`);
    const [left, right] = build.nodes(
      "Split",
      [build.node("MatMul", [x, w]), build.ints([width, width])],
      [true, true],
      {
        axis: -1,
      },
    );
    x = build.node("Add", [x, build.node("Mul", [build.node("Tanh", [left]), right])]);
    segments.push(new Set([...names()].filter((name) => !before.has(name))));
  }
  const loss = build.node("ReduceSum", [build.node("Mul", [x, x])], { keepdims: 0 });
  const forward = names();
  const wanted = new Map(segments.map((_, i) => [`w${i}`, "all"] as const));
  const { graph, gradients } = gradient(build.graph([loss]), loss, wanted);
  return { step: { ...graph, outputs: [loss, ...gradients.values()] }, forward, segments };
}

async function results(graph: Graph): Promise<readonly number[]> {
  const executable = await engine.compile(graph);
  const x = tensorOf(
    "float64",
    [rows, width],
    Array.from({ length: rows * width }, (_, i) => Math.cos(i)),
  );
  const given = await executable.bind(await engine.variables(new Map())).run(new Map([["x", x]]));
  return graph.outputs.flatMap((output) => toNumbers(given.get(output)!));
}

test("gradients are the same bit for bit, and less is held", async () => {
  const { step, forward, segments } = network();
  const recomputed = recomputeSegments(step, { forward, segments });
  expect(await results(recomputed)).toEqual(await results(step));
  // Of six blocks: what leaves each, and the inside of one.
  expect(peakBytes(recomputed)).toBeLessThan(0.55 * peakBytes(step));
});

test("each segment's nodes come twice, the second time behind the gradients of the segments after it", () => {
  const { step, forward, segments } = network();
  const { nodes } = recomputeSegments(step, { forward, segments });
  const places = nodes.flatMap(({ op, name }, at) => (op === "Tanh" && name.includes("again") ? [at] : []));
  expect(places.length).toBe(blocks);
  const gradientsBetween = places
    .slice(1)
    .map((at, i) => nodes.slice(places[i], at).filter(({ op }) => op === "MatMul"));
  for (const products of gradientsBetween) expect(products.length).toBeGreaterThan(1);
});
