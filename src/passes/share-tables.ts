// A table that is looked up, and multiplied by transposed, becomes the one matrix of the product: reading a file computes the transposed
// table, and the two would be two constants.
import type { Graph, Node } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { inferTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** Gather reads the columns of the matrix, and a Transpose makes rows of them. */
export function shareTables(graph: Graph): Graph {
  const matrices = graph.nodes.flatMap(({ op, inputs }) => (op === "MatMul" ? [inputs[1]] : []));
  const matrixOf = new Map<string, string>();
  for (const name of new Set(graph.nodes.filter(isLookup).map(({ inputs }) => inputs[0]))) {
    const table = graph.constants.get(name);
    const matrix = matrices.find((other) => isTransposed(table, graph.constants.get(other)));
    if (matrix !== undefined) matrixOf.set(name, matrix);
  }
  if (matrixOf.size === 0) return graph;
  const unique = uniqueNamesIn(graph);
  const nodes = graph.nodes.flatMap((node): readonly Node[] => {
    const matrix = isLookup(node) ? matrixOf.get(node.inputs[0]) : undefined;
    const rank = graph.values.get(node.inputs[1])?.shape.length;
    if (matrix === undefined || rank === undefined) return [node];
    const columns = unique(`${node.name}:columns`);
    const perm = [...Array.from({ length: rank }, (_, axis) => axis + 1), 0];
    return [
      { name: columns, op: "Gather", inputs: [matrix, node.inputs[1]], outputs: [columns], attributes: { axis: 1 } },
      { ...node, op: "Transpose", inputs: [columns], attributes: { perm } },
    ];
  });
  return removeDeadNodes(inferTypes({ ...graph, nodes }));
}

const isLookup = (node: Node): boolean => node.op === "Gather" && numberAttribute(node, "axis", 0) === 0;

function isTransposed(table: Tensor | undefined, matrix: Tensor | undefined): boolean {
  if (!table || !matrix || table.dtype !== matrix.dtype || table.shape.length !== 2 || matrix.shape.length !== 2)
    return false;
  const [rows, columns] = table.shape;
  if (matrix.shape[0] !== columns || matrix.shape[1] !== rows) return false;
  const [a, b] = [numbersOf(table), numbersOf(matrix)];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      if (a[row * columns + column] !== b[column * rows + row]) return false;
  return true;
}
