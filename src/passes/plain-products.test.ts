import { expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { Graph } from "../ir/graph.ts";
import { tensorOf, toNumbers } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { plainProducts } from "./plain-products.ts";

const engine = createReferenceEngine();
const numbers = (count: number): Float64Array => Float64Array.from({ length: count }, (_, i) => Math.sin(i * i));

function graphOf(equation: string, shape: readonly number[], matrix: readonly number[]): Graph {
  const build = buildOn();
  const x = build.input("x", { dtype: "float64", shape });
  const w = build.constant(tensorOf("float64", matrix, numbers(matrix[0] * matrix[1])), "w");
  return build.graph([build.node("Einsum", [x, w], { equation })]);
}

async function run(graph: Graph, shape: readonly number[]): Promise<readonly number[]> {
  const x = tensorOf("float64", shape, numbers(shape.reduce((a, b) => a * b)));
  const program = (await engine.compile(graph)).bind(await engine.variables(new Map()));
  return toNumbers((await program.run(new Map([["x", x]]))).get(graph.outputs[0])!);
}

test.each([
  ["blh,vh->blv", [2, 3, 4]],
  ["ab, cb -> ac", [3, 4]],
  ["abcd,ed->abce", [2, 1, 3, 4]],
] as const)("%s becomes MatMul, and gives the same", async (equation, shape) => {
  const graph = graphOf(equation, shape, [5, 4]);
  const plain = plainProducts(graph);
  expect(plain.nodes.map(({ op }) => op)).toEqual(["Transpose", "MatMul"]);
  expect([...plain.constants.keys()]).toEqual(["w"]);
  expectClose(await run(plain, shape), await run(graph, shape));
});

test.each([
  ["blh,hv->blv", [2, 3, 5], [5, 4]],
  ["bh,vh->vb", [3, 4], [5, 4]],
  ["bb,vb->bv", [4, 4], [5, 4]],
] as const)("%s stays an Einsum", (equation, shape, matrix) => {
  const { nodes } = plainProducts(graphOf(equation, shape, matrix));
  expect(nodes.map(({ op }) => op)).toEqual(["Einsum"]);
});
