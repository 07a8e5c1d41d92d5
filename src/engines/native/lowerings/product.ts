// Matrix products.
import type { Dim } from "../../../ir/graph.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { isTransposed } from "../../../ops/matrix-shape.ts";
import { isSettled, type Lowering, type NativeOp } from "../lowering.ts";
import { fixed, list, stridesOf, type Value } from "../plan.ts";

interface Product {
  readonly a: Value;
  readonly b: Value;
  readonly c: Value | undefined;
  readonly y: Value | undefined;
  /** m, n and k. */
  readonly sizes: readonly Dim[];
  readonly transposed: readonly [a: boolean, b: boolean];
  readonly cStrides: readonly [row: number, column: number];
  readonly batch: readonly number[];
  readonly strides: readonly (readonly number[])[];
  readonly factors: readonly [alpha: number, beta: number];
}

export function emitProduct({ emit, size, most }: Lowering, product: Product): void {
  const { a, b, c, y, sizes, transposed, cStrides, batch, strides, factors } = product;
  emit("product", {
    inputs: [a, b, c],
    outputs: [y],
    ints: [
      ...sizes.map(size),
      ...sizes.map(most),
      ...transposed.map(Number),
      ...cStrides,
      ...list(batch),
      ...strides.flatMap(list),
    ],
    floats: factors,
  });
}

/** How far apart the rows and columns of c are when it is broadcast to a matrix. */
function broadcastSteps(c: Value | undefined): readonly [row: number, column: number] {
  if (!c) return [0, 0];
  const [rows, columns] = [1, 1, ...fixed(c.shape)].slice(-2);
  return [rows === 1 ? 0 : columns, columns === 1 ? 0 : 1];
}

const Gemm: NativeOp = {
  takesRows: true,
  accepts: (node, graph, open) => isSettled(graph, node.inputs[2], open),
  lower: (lowering) => {
    const { node, input, optional, output } = lowering;
    const [a, b] = [input(0, "plain"), input(1, "plain")];
    const [transA, transB] = [isTransposed(node, "transA"), isTransposed(node, "transB")];
    const c = optional(2);
    emitProduct(lowering, {
      a,
      b,
      c,
      y: output(0),
      sizes: [a.shape[transA ? 1 : 0], b.shape[transB ? 0 : 1], a.shape[transA ? 0 : 1]],
      transposed: [transA, transB],
      cStrides: broadcastSteps(c),
      batch: [],
      strides: [[], []],
      factors: [numberAttribute(node, "alpha", 1), numberAttribute(node, "beta", 1)],
    });
  },
};

const MatMul: NativeOp = {
  takesRows: true,
  accepts: (node, graph, open) =>
    node.inputs.every((input) => isSettled(graph, input, open) || graph.values.get(input)?.shape.length === 2),
  lower: (lowering) => {
    const [a, b] = [lowering.input(0, "plain"), lowering.input(1, "plain")];
    const y = lowering.output(0);
    const left = a.shape.length === 1 ? [1, ...a.shape] : a.shape;
    const right = b.shape.length === 1 ? [...b.shape, 1] : b.shape;
    const leads = [left, right].map((shape) => fixed(shape.slice(0, -2)));
    const rank = Math.max(...leads.map((lead) => lead.length));
    const padded = leads.map((lead) => [...Array.from({ length: rank - lead.length }, () => 1), ...lead]);
    const batch = padded[0].map((size, axis) => (size === 1 ? padded[1][axis] : size));
    const matrix = (shape: readonly Dim[]): number =>
      rank === 0 ? 0 : fixed(shape.slice(-2)).reduce((product, size) => product * size, 1);
    const strides = [left, right].map((shape, i) => {
      const steps = stridesOf(padded[i], "plain");
      return steps.map((step, axis) => (padded[i][axis] === 1 ? 0 : step * matrix(shape)));
    });
    // A batch of matrices against one matrix is one tall product.
    const isTall = rank > 0 && strides[1].every((step) => step === 0) && strides[0].every((step) => step !== 0);
    const rows = (): number => fixed(left.slice(0, -1)).reduce((product, size) => product * size, 1);
    emitProduct(lowering, {
      a,
      b,
      c: undefined,
      y,
      sizes: [isTall ? rows() : left[left.length - 2], right[right.length - 1], left[left.length - 1]],
      transposed: [false, false],
      cStrides: [0, 0],
      batch: isTall ? [] : batch,
      strides: isTall ? [[], []] : strides,
      factors: [1, 0],
    });
  },
};

export const productOps: Readonly<Record<string, NativeOp>> = { Gemm, MatMul };
