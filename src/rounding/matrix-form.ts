// A linear layer's weight as matrices: one for each group of the layer, a row for each of its outputs.

import { assert } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { groupOf } from "../ops/convolution-shape.ts";
import type { LinearLayer } from "../quantizers/linear-layers.ts";

/** y = W x for each group by itself; a convolution's x is the patch under its kernel, channel by channel. */
export interface MatrixForm {
  readonly groups: number;
  /** Outputs of one group. */
  readonly rows: number;
  /** Inputs of one output. */
  readonly columns: number;
  /** The weight has its columns first: [columns, rows]. */
  readonly isTransposed: boolean;
  /** Of the weight. */
  readonly shape: readonly number[];
}

/** `undefined` for a transposed convolution, whose outputs do not all have the same inputs. */
export function matrixFormOf(graph: Graph, { node, weight, rowAxis }: LinearLayer): MatrixForm | undefined {
  if (node.op === "ConvTranspose") return undefined;
  const shape = graph.values.get(weight)?.shape.map(Number) ?? [];
  assert(shape.length >= 2, `weight "${weight}" has no rows`);
  if (node.op !== "Conv")
    return { groups: 1, rows: shape[rowAxis], columns: shape[1 - rowAxis], isTransposed: rowAxis === 1, shape };
  const groups = groupOf(node);
  return { groups, rows: shape[0] / groups, columns: sizeOf(shape.slice(1)), isTransposed: false, shape };
}

export const matrixSize = ({ groups, rows, columns }: MatrixForm): number => groups * rows * columns;

/** The elements in the order [groups, rows, columns]. */
export function toMatrices(form: MatrixForm, values: ArrayLike<number>): Float64Array {
  const result = Float64Array.from(values);
  if (!form.isTransposed) return result;
  const { rows, columns } = form;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[row * columns + column] = values[column * rows + row];
  return result;
}

/** The other way round: a tensor like `like`. */
export function fromMatrices({ isTransposed, rows, columns }: MatrixForm, values: Float64Array, like: Tensor): Tensor {
  if (!isTransposed) return tensorOf(like.dtype, like.shape, values);
  const turned = numbersOf(tensorOf(like.dtype, like.shape, values));
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) turned[column * rows + row] = values[row * columns + column];
  return { ...like, data: turned };
}
