// A table that is looked up, and multiplied by transposed, becomes the one matrix of the product: reading a file computes the transposed
// table, and the two would be two constants.
import { isFloat } from "../ir/dtype.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { inferTypes } from "./infer-types.ts";
import { removeDeadNodes } from "./remove-dead-nodes.ts";

/** Gather reads the columns of the matrix, and a Transpose makes rows of them. */
export function shareTables(graph: Graph): Graph {
  const tables = new Set(graph.nodes.filter(isLookup).map(({ inputs }) => inputs[0]));
  if (tables.size === 0) return graph;
  const matrices = new Map<string, string[]>();
  for (const name of new Set(graph.nodes.flatMap(({ op, inputs }) => (op === "MatMul" ? [inputs[1]] : [])))) {
    const matrix = graph.constants.get(name);
    if (!isMatrix(matrix)) continue;
    const key = keyOf(matrix, matrix.shape.toReversed());
    matrices.set(key, [...(matrices.get(key) ?? []), name]);
  }
  const matrixOf = new Map<string, string>();
  for (const name of tables) {
    const table = graph.constants.get(name);
    if (!isMatrix(table)) continue;
    const alike = matrices.get(keyOf(table, table.shape)) ?? [];
    const matrix = alike.find((other) => isTransposed(table, graph.constants.get(other)));
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

const isMatrix = (value: Tensor | undefined): value is Tensor =>
  value !== undefined && isFloat(value.dtype) && value.shape.length === 2;

/** What a table shares with its transpose, whose shape is turned. */
const keyOf = ({ dtype, data }: Tensor, shape: readonly number[]): string =>
  [dtype, ...shape, data[0], data.at(-1)].join();

/** Of a matrix with the table's key. */
function isTransposed(table: Tensor, matrix: Tensor | undefined): boolean {
  if (!matrix) return false;
  const [rows, columns] = table.shape;
  const [a, b] = [numbersOf(table), numbersOf(matrix)];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      if (a[row * columns + column] !== b[column * rows + row]) return false;
  return true;
}
