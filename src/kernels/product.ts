// Matrix products, batched and broadcast.
import { assert } from "../ir/errors.ts";
import { sizeOf } from "../ir/tensor.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { broadcastShapes } from "../ops/broadcast.ts";
import { gemmSizes, isTransposed, matMulShape } from "../ops/matrix-shape.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";
import { addProduct, transposed } from "./matrix.ts";

/** For each cell of the broadcast `batch`, the cell of an operand with these leading sizes. */
function batchIndices(batch: readonly number[], leading: readonly number[]): number[] {
  return Array.from({ length: sizeOf(batch) }, (_, cell) => {
    let rest = cell;
    let index = 0;
    let stride = 1;
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      const size = leading[axis - batch.length + leading.length] ?? 1;
      if (size > 1) index += (rest % batch[axis]) * stride;
      stride *= size;
      rest = Math.floor(rest / batch[axis]);
    }
    return index;
  });
}

const MatMul: Kernel = ([a, b], node) => {
  assert(a && b, "MatMul without a or b");
  const shape = matMulShape(node, a.shape, b.shape) as readonly number[];
  const left = a.shape.length === 1 ? [1, ...a.shape] : a.shape;
  const right = b.shape.length === 1 ? [...b.shape, 1] : b.shape;
  const [m, k] = left.slice(-2);
  const n = right[right.length - 1];
  const batch = broadcastShapes(node, [left.slice(0, -2), right.slice(0, -2)]) as readonly number[];
  const aIndices = batchIndices(batch, left.slice(0, -2));
  const bIndices = batchIndices(batch, right.slice(0, -2));
  const aData = float64Of(a, node);
  const bData = float64Of(b, node);
  const columns = Array.from({ length: sizeOf(right.slice(0, -2)) }, (_, i) =>
    transposed({ data: bData, offset: i * k * n }, k, n),
  );
  const y = new Float64Array(sizeOf(shape));
  aIndices.forEach((aIndex, i) => {
    const target = { data: y, offset: i * m * n };
    addProduct(target, { data: aData, offset: aIndex * m * k }, columns[bIndices[i]], { m, n, k });
  });
  return [fromFloat64(a.dtype, shape, y, node)];
};

interface Scaled {
  readonly m: number;
  readonly n: number;
  readonly beta: number;
}

/** Adds β c, broadcast to [m, n]. */
function addScaled(y: Float64Array, c: Float64Array, shape: readonly number[], { m, n, beta }: Scaled): void {
  const rows = shape.length === 2 ? shape[0] : 1;
  const columns = shape[shape.length - 1] ?? 1;
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) y[i * n + j] += beta * c[(rows === 1 ? 0 : i) * columns + (columns === 1 ? 0 : j)];
}

const Gemm: Kernel = ([a, b, c], node) => {
  assert(a && b, "Gemm without a or b");
  const { m, n, k } = gemmSizes(node, a.shape, b.shape) as { m: number; n: number; k: number };
  const aMatrix = { data: float64Of(a, node), offset: 0 };
  const bMatrix = { data: float64Of(b, node), offset: 0 };
  const rows = isTransposed(node, "transA") ? transposed(aMatrix, k, m) : aMatrix;
  const columns = isTransposed(node, "transB") ? bMatrix : transposed(bMatrix, k, n);
  const y = new Float64Array(m * n);
  addProduct({ data: y, offset: 0 }, rows, columns, { m, n, k });
  const alpha = numberAttribute(node, "alpha", 1);
  if (alpha !== 1) for (let i = 0; i < y.length; i++) y[i] *= alpha;
  if (c) addScaled(y, float64Of(c, node), c.shape, { m, n, beta: numberAttribute(node, "beta", 1) });
  return [fromFloat64(a.dtype, [m, n], y, node)];
};

export const productKernels = { MatMul, Gemm } satisfies Record<string, Kernel>;
