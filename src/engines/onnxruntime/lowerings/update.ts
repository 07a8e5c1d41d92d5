// Optimizer updates; with rows, the rows are gathered, stepped and scattered back.
import { numberAttribute } from "../../../ops/attributes.ts";
import type { LoweringContext, LoweringRule } from "../lowering.ts";

interface Arithmetic {
  readonly of: (value: number) => string;
  readonly add: (a: string, b: string) => string;
  readonly sub: (a: string, b: string) => string;
  readonly mul: (a: string, b: string) => string;
  readonly div: (a: string, b: string) => string;
}

function arithmeticOf({ emit, type }: LoweringContext): Arithmetic {
  const { dtype } = type(0);
  const binary = (op: string) => (a: string, b: string) => emit.node(op, [a, b]);
  return {
    of: (value) => emit.scalar(value, dtype),
    add: binary("Add"),
    sub: binary("Sub"),
    mul: binary("Mul"),
    div: binary("Div"),
  };
}

interface Rows {
  /** The wanted rows of an input, or all of it. */
  readonly take: (input: number, axis?: number) => string;
  /** The input with these rows in their places. */
  readonly put: (input: number, rows: string, axis?: number) => string;
  /** Per-row numbers, shaped to broadcast against the rows. */
  readonly spread: (perRow: string) => string;
}

function rowsOf({ node, emit, input, has, type }: LoweringContext, rowsInput: number): Rows {
  if (!has(rowsInput)) return { take: (i) => input(i), put: (_, rows) => rows, spread: (value) => value };
  const rows = input(rowsInput);
  const weightAxis = numberAttribute(node, "axis", 0);
  const others = otherAxes(type(0).shape.length, weightAxis);
  return {
    take: (i, axis = weightAxis) => emit.node("Gather", [input(i), rows], { axis }),
    put: (i, values, axis = weightAxis) => scatterRows(emit, input(i), rows, values, axis, type(i).shape.length),
    // ONNX Runtime's WebGPU kernel refuses an empty list of axes.
    spread: (perRow) => (others.length === 0 ? perRow : emit.node("Unsqueeze", [perRow, emit.ints(others)])),
  };
}

const otherAxes = (rank: number, axis: number): number[] =>
  Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);

function scatterRows(
  emit: LoweringContext["emit"],
  whole: string,
  rows: string,
  values: string,
  axis: number,
  rank: number,
): string {
  const indices = emit.node("Unsqueeze", [rows, emit.ints([1])]);
  if (axis === 0) return emit.node("ScatterND", [whole, indices, values]);
  const swap = Array.from({ length: rank }, (_, i) => (i === 0 ? axis : i === axis ? 0 : i));
  const scattered = emit.node("ScatterND", [emit.transpose(whole, swap), indices, emit.transpose(values, swap)]);
  return emit.transpose(scattered, swap);
}

/** The gradient plus weight decay. */
function decayed(context: LoweringContext, { of, add, mul }: Arithmetic, w: string): string {
  const weightDecay = numberAttribute(context.node, "weightDecay", 0);
  return weightDecay === 0 ? context.input(1) : add(context.input(1), mul(w, of(weightDecay)));
}

/** v' = momentum · v + g; w' = w − learningRate · v' */
const SgdUpdate: LoweringRule = (context) => {
  const { node, input, set } = context;
  const arithmetic = arithmeticOf(context);
  const { of, add, sub, mul } = arithmetic;
  const { take, put } = rowsOf(context, 4);
  const w = take(0);
  const velocity = add(mul(take(2), of(numberAttribute(node, "momentum", 0))), decayed(context, arithmetic, w));
  set(0, put(0, sub(w, mul(input(3), velocity))));
  set(1, put(2, velocity));
};

/** PyTorch's Adam: the step is counted per row where rows train. */
const AdamUpdate: LoweringRule = (context) => {
  const { node, emit, input, set } = context;
  const arithmetic = arithmeticOf(context);
  const { of, add, sub, mul, div } = arithmetic;
  const { take, put, spread } = rowsOf(context, 6);
  const [beta1, beta2] = [numberAttribute(node, "beta1", 0.9), numberAttribute(node, "beta2", 0.999)];
  const isDecoupled = numberAttribute(node, "decoupled", 0) === 1;
  const weightDecay = numberAttribute(node, "weightDecay", 0);
  const current = take(0);
  const w = isDecoupled ? mul(current, sub(of(1), mul(input(5), of(weightDecay)))) : current;
  const g = isDecoupled ? input(1) : decayed(context, arithmetic, w);
  const m = add(mul(take(2), of(beta1)), mul(g, of(1 - beta1)));
  const v = add(mul(take(3), of(beta2)), mul(mul(g, g), of(1 - beta2)));
  const step = add(take(4, 0), of(1));
  const correction = (beta: number): string => spread(sub(of(1), emit.node("Pow", [of(beta), step])));
  const root = div(emit.node("Sqrt", [v]), emit.node("Sqrt", [correction(beta2)]));
  const rate = div(input(5), correction(beta1));
  const next = sub(w, mul(rate, div(m, add(root, of(numberAttribute(node, "epsilon", 1e-8))))));
  set(0, put(0, next));
  set(1, put(2, m));
  set(2, put(3, v));
  set(3, put(4, step, 0));
};

export const updateLowerings = { SgdUpdate, AdamUpdate } satisfies Record<string, LoweringRule>;
