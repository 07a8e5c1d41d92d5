// Einsums that are products with a matrix, as MatMul: ONNX Runtime moves an Einsum's matrix around in every run.
import type { Graph, Node } from "../ir/graph.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";

/** x [… , k] and a constant [v, k] to [… , v], whatever the letters. */
const equation = /^(?<rows>[a-z]+)(?<inner>[a-z]),(?<outer>[a-z])\k<inner>->\k<rows>\k<outer>$/;

function isProduct(written: string): boolean {
  const { rows = "", inner = "", outer = "" } = equation.exec(written.replaceAll(" ", ""))?.groups ?? {};
  return outer !== "" && new Set([...rows, inner, outer]).size === rows.length + 2;
}

/** The graph with MatMul and a Transpose of the constant, which runtimes compute once, in place of such Einsums. */
export function plainProducts(graph: Graph): Graph {
  const unique = uniqueNamesIn(graph);
  const values = new Map(graph.values);
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const [x, matrix] = node.inputs;
    const constant = graph.constants.get(matrix);
    if (!constant || node.op !== "Einsum" || !isProduct(String(node.attributes["equation"]))) return [node];
    const name = unique(`${matrix}/transposed`);
    values.set(name, { dtype: constant.dtype, shape: constant.shape.toReversed() });
    return [
      { name, op: "Transpose", inputs: [matrix], outputs: [name], attributes: { perm: [1, 0] } },
      { ...node, op: "MatMul", inputs: [x, name], attributes: {} },
    ];
  });
  return { ...graph, nodes, values };
}
