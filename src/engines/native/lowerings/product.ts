// Matrix products: of 8-bit codes, of gradients that are rounded to 8 bits, of bfloat16, of float32, of float64.
import type { Dim } from "../../../ir/graph.ts";
import { sizeOf } from "../../../ir/tensor.ts";
import { numberAttribute } from "../../../ops/attributes.ts";
import { isStatic } from "../../../ops/dims.ts";
import { weightAxesOf } from "../../../ops/linear.ts";
import { isTransposed } from "../../../ops/matrix-shape.ts";
import { fitsSums, integerProductOf, multipliesIntegers } from "../integers.ts";
import { isSettled, type LoweringContext, type NativeOp } from "../lowering.ts";
import { collapsed, fixed, list, stridesOf, type Value } from "../plan.ts";
import { matrixView } from "../transposes.ts";
import { weightCodes } from "./quantization.ts";
import { commonType } from "./typed.ts";

/** A batch of matrices in memory. */
export interface Operand {
  readonly value: Value;
  /** As the product sees it, two axes or more. */
  readonly shape: readonly Dim[];
  readonly isTransposed: boolean;
  /** Elements between the memory's rows; 0: as many as a row has. */
  readonly step: number;
  /** Of the axes before the last two. */
  readonly strides: readonly number[];
}

interface Product {
  readonly a: Value;
  readonly b: Value;
  readonly c: Value | undefined;
  readonly y: Value | undefined;
  /** m, n and k. */
  readonly sizes: readonly Dim[];
  readonly transposed: readonly [a: boolean, b: boolean];
  /** As `Operand` has them; 0 where left out. */
  readonly steps?: readonly [a: number, b: number];
  readonly cStrides: readonly [row: number, column: number];
  readonly batch: readonly number[];
  readonly strides: readonly (readonly number[])[];
  readonly factors: readonly [alpha: number, beta: number];
}

/** What is multiplied sooner than rounded. */
export const minBfloat16Bytes = 1 << 16;

/** Whether a product of float32 is one of narrower numbers. */
function isNarrow({ numerics, maxSize }: LoweringContext, { sizes, batch, factors }: Product): boolean {
  const [m, n, k] = sizes.map(maxSize);
  const isLarge = 4 * sizeOf(batch) * (m * k + k * n + m * n) >= minBfloat16Bytes;
  return numerics.bfloat16 && isLarge && factors[0] === 1;
}

/** Operands as they are stored are rounded to bfloat16 or widened to float32; those of float64 stay. */
export function emitProduct(lowering: LoweringContext, product: Product): void {
  if (product.a.dtype === "float64") {
    emitAs(lowering, "product:float64", product);
    return;
  }
  const isOfBfloat16 = isNarrow(lowering, product);
  const load = isOfBfloat16 ? lowering.narrowed : lowering.widened;
  const [a, b] = [load(product.a), load(product.b)];
  emitAs(lowering, isOfBfloat16 ? "product:bfloat16" : "product", { ...product, a, b });
}

/**
 * dx = (dy · scale) codesᵀ, of gradients that are rounded to 8 bits in steps of each row's own: the gradient of a product of
 * codes for its input. Whether it is one.
 */
function lowerDynamic(lowering: LoweringContext, product: Product): boolean {
  const { node, graph, uses, numerics, late, narrowed, emit } = lowering;
  const { a, c, y, sizes, transposed, steps = [0, 0], batch } = product;
  const weights = matrixView(node.inputs[1], graph, uses)?.name ?? node.inputs[1];
  const forward = late.has(node) ? integerProductOf(weights, graph, uses, numerics, late) : undefined;
  if (!forward || c || transposed[0] || batch.length > 0 || !isStatic(sizes)) return false;
  const isWTransposed = weightAxesOf(forward, fixed(graph.values.get(weights)?.shape ?? []))?.rows === 0;
  const [m, n, k] = fixed(sizes);
  if (transposed[1] === isWTransposed || !fitsSums(k) || !isNarrow(lowering, product)) return false;
  const { codes, scale } = weightCodes(lowering, forward.inputs[1]);
  emit("product:dynamic", {
    inputs: [narrowed(a), codes, scale],
    outputs: [y],
    ints: [m, n, k, steps[0] || k, Number(transposed[1]), sizeOf(fixed(scale.shape))],
  });
  return true;
}

function emitAs({ emit, size, maxSize }: LoweringContext, kernel: string, product: Product): void {
  const { a, b, c, y, sizes, transposed, steps = [0, 0], cStrides, batch, strides, factors } = product;
  emit(kernel, {
    inputs: [a, b, c],
    outputs: [y],
    ints: [
      ...[...sizes.map(size), ...sizes.map(maxSize), ...transposed.map(Number)],
      ...[...steps, ...cStrides, ...list(batch), ...strides.flatMap(list)],
    ],
    floats: factors,
  });
}

/** Sums of products of codes, and then their scale: exact until then. */
function lowerIntegers(lowering: LoweringContext): void {
  const { node, stored, as, optional, output, scratch, emitFused } = lowering;
  const x = as(stored(0), "plain");
  const y = output(0);
  if (!y || !x.codes) return;
  const { codes, scale } = weightCodes(lowering, node.inputs[1]);
  const isWTransposed = weightAxesOf(node, codes.shape)?.rows === 0;
  const shape = fixed(x.shape);
  const [k, n] = isWTransposed ? fixed(codes.shape).toReversed() : fixed(codes.shape);
  const sums = scratch("int32", y.shape);
  emitAs(lowering, "product:integer", {
    a: x,
    b: codes,
    c: x.codes.zero,
    y: sums,
    sizes: [sizeOf(shape.slice(0, -1)), n, k],
    transposed: [false, isWTransposed],
    cStrides: [0, 0],
    batch: [],
    strides: [[], []],
    factors: [1, 0],
  });
  const broadcast = [x.codes.scale, scale, optional(2)];
  emitFused("rescale", { elementwise: [sums], broadcast, results: [y], ints: [sizeOf(fixed(scale.shape))], width: n });
}

/** An input as it is stored, before its Transposes where products can read it so. */
export function operandOf({ graph, uses, node, stored, storedAs, as }: LoweringContext, i: number): Operand {
  const view = matrixView(node.inputs[i], graph, uses);
  const shape = graph.values.get(node.inputs[i])?.shape ?? [];
  if (view) return { ...view, value: as(storedAs(view.name), "plain"), shape };
  const value = as(stored(i), "plain");
  const matrix = shape.length > 1 ? shape : i === 0 ? [1, ...shape] : [...shape, 1];
  const strides = matrix.length > 2 ? stridesOf(fixed(matrix), "plain").slice(0, -2) : [];
  return { value, shape: matrix, isTransposed: false, step: 0, strides };
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
    const { graph, node, uses, numerics, optional, output } = lowering;
    if (multipliesIntegers(node, graph, uses, numerics)) return lowerIntegers(lowering);
    const [a, b] = [operandOf(lowering, 0), operandOf(lowering, 1)];
    const [transA, transB] = [isTransposed(node, "transA"), isTransposed(node, "transB")];
    const c = optional(2);
    const product: Product = {
      a: a.value,
      b: b.value,
      c,
      y: output(0),
      sizes: [a.shape[transA ? 1 : 0], b.shape[transB ? 0 : 1], a.shape[transA ? 0 : 1]],
      transposed: [a.isTransposed !== transA, b.isTransposed !== transB],
      steps: [a.step, b.step],
      cStrides: broadcastSteps(c),
      batch: [],
      strides: [[], []],
      factors: [numberAttribute(node, "alpha", 1), numberAttribute(node, "beta", 1)],
    };
    if (!lowerDynamic(lowering, product)) emitProduct(lowering, product);
  },
};

const MatMul: NativeOp = {
  anyType: true,
  takesRows: true,
  accepts: (node, graph, open) =>
    /^float(32|64)$/.test(commonType(node, graph) ?? "") &&
    node.inputs.every((input) => isSettled(graph, input, open) || graph.values.get(input)?.shape.length === 2),
  lower: (lowering) => {
    const { graph, node, uses, numerics } = lowering;
    if (multipliesIntegers(node, graph, uses, numerics)) return lowerIntegers(lowering);
    const operands = [operandOf(lowering, 0), operandOf(lowering, 1)];
    const [a, b] = operands;
    const y = lowering.output(0);
    const leads = operands.map(({ shape }) => fixed(shape.slice(0, -2)));
    const rank = Math.max(...leads.map((lead) => lead.length));
    const padded = leads.map((lead) => [...Array.from({ length: rank - lead.length }, () => 1), ...lead]);
    const batch = padded[0].map((size, axis) => (size === 1 ? padded[1][axis] : size));
    const strides = operands.map(({ strides: own }, i) =>
      padded[i].map((size, axis) => (size === 1 ? 0 : own[axis - rank + own.length])),
    );
    const tall = tallOf(a, batch, strides);
    const product: Product = {
      a: a.value,
      b: b.value,
      c: undefined,
      y,
      sizes: [tall?.rows ?? a.shape[a.shape.length - 2], b.shape[b.shape.length - 1], a.shape[a.shape.length - 1]],
      transposed: [a.isTransposed, b.isTransposed],
      steps: [tall?.step ?? a.step, b.step],
      cStrides: [0, 0],
      batch: tall ? [] : batch,
      strides: tall ? [[], []] : strides,
      factors: [1, 0],
    };
    if (!lowerDynamic(lowering, product)) emitProduct(lowering, product);
  },
};

/** A batch of matrices against one matrix is one tall product, where its rows are evenly spaced. */
function tallOf(
  a: Operand,
  batch: readonly number[],
  [own, others]: readonly (readonly number[])[],
): { readonly rows: number; readonly step: number } | undefined {
  if (batch.length === 0 || a.isTransposed || others.some((step) => step !== 0)) return undefined;
  const rows = fixed(a.shape).at(-2) ?? 1;
  if (own.some((step, axis) => step === 0 && batch[axis] !== 1)) return undefined;
  const { sizes, strides } = collapsed({ sizes: [...batch, rows], strides: [[...own, a.step]] });
  const columns = fixed(a.shape).at(-1) ?? 1;
  return sizes.length === 1 ? { rows: sizes[0], step: Math.max(strides[0][0], columns) } : undefined;
}

export const productOps: Readonly<Record<string, NativeOp>> = { Gemm, MatMul };
