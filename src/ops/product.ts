// Matrix products.
import type { Builder } from "../ir/builder.ts";
import { sizeOf } from "../ir/tensor.ts";
import { mismatch, numberAttribute, printShape } from "./attributes.ts";
import { broadcastShapes } from "./broadcast.ts";
import type { GradientContext, OpDefinition, SampleRule, Wanted } from "./definition.ts";
import { isStatic } from "./dims.ts";
import { numbers, optional, tied } from "./inputs.ts";
import { gemmSizes, isTransposed, matMulShape } from "./matrix-shape.ts";
import { operand } from "./operands.ts";
import { gatherRows, rowsAlong } from "./rows.ts";
import { agreed } from "./samples.ts";

/** Swaps the last two axes. */
function transpose(build: Builder, value: string): string {
  const rank = build.type(value).shape.length;
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
  return build.node("Transpose", [value], { perm });
}

const unsqueeze = (build: Builder, value: string, axis: number): string =>
  build.node("Unsqueeze", [value, build.ints([axis])]);
const squeeze = (build: Builder, value: string, axis: number): string =>
  build.node("Squeeze", [value, build.ints([axis])]);

/** [..., M, K] as [M', K]. */
function flattened(build: Builder, value: string): string {
  const { shape } = build.type(value);
  if (shape.length === 2) return value;
  const columns = shape[shape.length - 1];
  const rows = shape.slice(0, -1);
  const sizes = typeof columns === "number" ? [isStatic(rows) ? sizeOf(rows) : -1, columns] : undefined;
  return sizes ? build.node("Reshape", [value, build.ints(sizes)]) : build.node("Flatten", [value], { axis: -1 });
}

/** db = aᵀ · dy for a matrix b: one product over all leading axes, of the wanted columns alone. */
function matrixGradient(build: Builder, a: string, dy: string, want: Wanted): string {
  const rows = flattened(build, dy);
  return build.node("MatMul", [transpose(build, flattened(build, a)), gatherRows(build, rows, rowsAlong(want, 1), 1)]);
}

/** The rows of a gradient that the rule could not compute alone. */
function onlyRows(build: Builder, gradient: string, want: Wanted): string {
  return typeof want === "object" ? gatherRows(build, gradient, want.rows, want.axis) : gradient;
}

function matMulGradient({ node, build, dys: [dy], wants, type }: GradientContext): readonly (string | undefined)[] {
  if (dy === undefined) return [];
  const [a, b] = node.inputs;
  const isRow = type(a).shape.length === 1;
  const isColumn = type(b).shape.length === 1;
  const matrixA = isRow ? unsqueeze(build, a, 0) : a;
  const matrixB = isColumn ? unsqueeze(build, b, 1) : b;
  const withColumn = isColumn ? unsqueeze(build, dy, -1) : dy;
  const matrixDy = isRow ? unsqueeze(build, withColumn, -2) : withColumn;
  const da = (): string => {
    const product = build.node("MatMul", [matrixDy, transpose(build, matrixB)]);
    return isRow ? squeeze(build, product, -2) : product;
  };
  const db = (): string => {
    if (type(b).shape.length === 2) return matrixGradient(build, matrixA, matrixDy, wants(1));
    const product = build.node("MatMul", [transpose(build, matrixA), matrixDy]);
    return onlyRows(build, isColumn ? squeeze(build, product, -1) : product, wants(1));
  };
  return [wants(0) === "none" ? undefined : da(), wants(1) === "none" ? undefined : db()];
}

/** Rows of a and columns of b keep their places among the last two axes; the axes before broadcast; inner axes are summed over. */
const matMulSamples: SampleRule = ({ axes, inputs, outputs }) => {
  const [aRank, bRank] = inputs.map((type) => type?.shape.length ?? 0);
  const [a, b] = axes;
  if (a === aRank - 1 || (b >= 0 && b === Math.max(0, bRank - 2))) return "coupled";
  const rank = outputs[0].shape.length + Number(aRank === 1) + Number(bRank === 1);
  const axis = agreed([a < 0 ? undefined : a + rank - aRank, b < 0 ? undefined : b + rank - bRank]);
  return typeof axis === "number" && aRank === 1 && axis === rank - 1 ? axis - 1 : axis;
};

/** da = dy · bᵀ, db = aᵀ · dy */
export const MatMul: OpDefinition = {
  introduced: 1,
  inputs: [tied(numbers), tied(numbers)],
  outputs: 1,
  sampleAxis: matMulSamples,
  movesValues: false,
  infer: (context) => {
    const a = operand(context, 0);
    return [{ dtype: a.dtype, shape: matMulShape(context.node, a.shape, operand(context, 1).shape) }];
  },
  gradient: matMulGradient,
  cost: ([a = []], [y]) => ({ multiplyAdds: sizeOf(y) * (a[a.length - 1] ?? 1) }),
  computesRows: (input, axis) => input === 1 && axis === 1,
};

function gemmGradient({ node, build, dys: [dy], wants }: GradientContext): readonly (string | undefined)[] {
  if (dy === undefined) return [];
  const [a, b] = node.inputs;
  const transA = isTransposed(node, "transA");
  const transB = isTransposed(node, "transB");
  const alpha = numberAttribute(node, "alpha", 1);
  const beta = numberAttribute(node, "beta", 1);
  const gemm = (left: string, isLeftTransposed: boolean, right: string, isRightTransposed: boolean): string =>
    build.node("Gemm", [left, right], {
      alpha,
      transA: Number(isLeftTransposed),
      transB: Number(isRightTransposed),
    });
  const da = (): string => (transA ? gemm(b, transB, dy, true) : gemm(dy, false, b, !transB));
  const db = (): string => {
    const columns = gatherRows(build, dy, rowsAlong(wants(1), transB ? 0 : 1), 1);
    return transB ? gemm(columns, true, a, transA) : gemm(a, !transA, columns, false);
  };
  const dc = (): string => (beta === 1 ? dy : build.node("Mul", [dy, build.scalar(beta, dy)]));
  return [
    wants(0) === "none" ? undefined : da(),
    wants(1) === "none" ? undefined : db(),
    wants(2) === "none" ? undefined : dc(),
  ];
}

const gemmSamples: SampleRule = ({ node, axes: [a, b, c = -1], inputs, outputs }) => {
  if (a === (isTransposed(node, "transA") ? 0 : 1) || b === (isTransposed(node, "transB") ? 1 : 0)) return "coupled";
  const rank = outputs[0].shape.length;
  return agreed([
    a < 0 ? undefined : 0,
    b < 0 ? undefined : 1,
    c < 0 ? undefined : c + rank - (inputs[2]?.shape.length ?? 0),
  ]);
};

/** y = α a' b' + β c; da' = α dy b'ᵀ, db' = α a'ᵀ dy, dc = β dy */
export const Gemm: OpDefinition = {
  introduced: 1,
  inputs: [tied(numbers), tied(numbers), optional(tied(numbers))],
  outputs: 1,
  sampleAxis: gemmSamples,
  movesValues: false,
  infer: (context) => {
    const { node, inputs } = context;
    const a = operand(context, 0);
    const { m, n } = gemmSizes(node, a.shape, operand(context, 1).shape);
    const c = inputs[2];
    if (c && String(broadcastShapes(node, [[m, n], c.shape])) !== String([m, n]))
      throw mismatch(node, `c is ${printShape(c.shape)}; it must broadcast to [${m}, ${n}].`);
    return [{ dtype: a.dtype, shape: [m, n] }];
  },
  gradient: gemmGradient,
  cost: ([a = []], [y], node) => ({ multiplyAdds: sizeOf(y) * (isTransposed(node, "transA") ? a[0] : a[1]) }),
  computesRows: (input, axis, node) => input === 1 && axis === (isTransposed(node, "transB") ? 0 : 1),
};
