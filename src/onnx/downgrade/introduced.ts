// From which opset on operators and attributes exist, where that is later than 7.
import type { Attribute, Node } from "../../ir/graph.ts";
import { NeedsOpset, withAttributes } from "./downgrade.ts";

const since = (opset: number, ...names: readonly string[]): (readonly [string, number])[] =>
  names.map((name) => [name, opset]);

/** Resize and ScatterElements exist in older opsets under other names. */
const operators: ReadonlyMap<string, number> = new Map([
  ...since(8, "Expand"),
  ...since(9, "Acosh", "Asinh", "Atanh", "Compress", "ConstantOfShape", "Cosh", "Erf", "EyeLike", "IsNaN"),
  ...since(9, "MeanVarianceNormalization", "NonZero", "OneHot", "ScatterElements", "Shrink", "Sign", "Sinh", "Where"),
  ...since(10, "ConvInteger", "DequantizeLinear", "IsInf", "MatMulInteger", "Mod", "NonMaxSuppression"),
  ...since(10, "QLinearConv", "QLinearMatMul", "QuantizeLinear", "ReverseSequence", "RoiAlign", "ThresholdedRelu"),
  ...since(11, "BitShift", "CumSum", "Det", "DynamicQuantizeLinear", "GatherElements", "GatherND", "Range", "Round"),
  ...since(11, "ScatterND", "Unique"),
  ...since(12, "Celu", "Einsum", "GreaterOrEqual", "LessOrEqual", "NegativeLogLikelihoodLoss"),
  ...since(12, "SoftmaxCrossEntropyLoss"),
  ...since(14, "HardSwish", "Trilu"),
  ...since(15, "Bernoulli", "CastLike"),
  ...since(16, "GridSample"),
  ...since(17, "LayerNormalization"),
  ...since(18, "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "Mish"),
  ...since(20, "AffineGrid", "Gelu"),
  ...since(21, "GroupNormalization"),
  ...since(23, "Attention", "RMSNormalization", "RotaryEmbedding"),
  ...since(24, "Swish", "TensorScatter"),
]);

interface NewAttribute {
  readonly since: number;
  /** What older opsets do; a list stands for any number of these entries. */
  readonly default: number | string | readonly [number];
}

const quantization = {
  axis: { since: 13, default: 1 },
  saturate: { since: 19, default: 1 },
  block_size: { since: 21, default: 0 },
} as const;
const reduction = { noop_with_empty_axes: { since: 18, default: 0 } } as const;

const attributes: Readonly<Record<string, Readonly<Record<string, NewAttribute>>>> = {
  ArgMax: { select_last_index: { since: 12, default: 0 } },
  ArgMin: { select_last_index: { since: 12, default: 0 } },
  AveragePool: { ceil_mode: { since: 10, default: 0 }, dilations: { since: 19, default: [1] } },
  BatchNormalization: { training_mode: { since: 14, default: 0 } },
  Cast: { saturate: { since: 19, default: 1 } },
  DepthToSpace: { mode: { since: 11, default: "DCR" } },
  DequantizeLinear: quantization,
  LpPool: { ceil_mode: { since: 18, default: 0 }, dilations: { since: 18, default: [1] } },
  MaxPool: {
    ceil_mode: { since: 10, default: 0 },
    dilations: { since: 10, default: [1] },
    storage_order: { since: 8, default: 0 },
  },
  QuantizeLinear: quantization,
  ReduceL1: reduction,
  ReduceL2: reduction,
  ReduceLogSum: reduction,
  ReduceLogSumExp: reduction,
  ReduceMax: reduction,
  ReduceMean: reduction,
  ReduceMin: reduction,
  ReduceProd: reduction,
  ReduceSum: { noop_with_empty_axes: { since: 13, default: 0 } },
  ReduceSumSquare: reduction,
  Reshape: { allowzero: { since: 14, default: 0 } },
  Resize: {
    antialias: { since: 18, default: 0 },
    keep_aspect_ratio_policy: { since: 18, default: "stretch" },
  },
  ScatterElements: { reduction: { since: 16, default: "none" } },
  ScatterND: { reduction: { since: 16, default: "none" } },
  Shape: { start: { since: 15, default: 0 } },
  TopK: { largest: { since: 11, default: 1 }, sorted: { since: 11, default: 1 } },
};

export function checkOperator(node: Node, opset: number): void {
  const first = operators.get(node.op) ?? 0;
  if (opset < first) throw new NeedsOpset(first, "the operator is newer");
}

/** Leaves out attributes that `opset` does not have and that say what it does anyway. */
export function dropNewAttributes(node: Node, opset: number): Node {
  const dropped: Record<string, undefined> = {};
  for (const [name, rule] of Object.entries(attributes[node.op] ?? {})) {
    const value = node.attributes[name];
    if (value === undefined || opset >= rule.since) continue;
    if (!isDefault(value, rule.default))
      throw new NeedsOpset(rule.since, `its attribute "${name}" (${JSON.stringify(value)}) is newer`);
    dropped[name] = undefined;
  }
  return Object.keys(dropped).length === 0 ? node : withAttributes(node, dropped);
}

const isDefault = (value: Attribute, expected: NewAttribute["default"]): boolean =>
  typeof expected === "object"
    ? Array.isArray(value) && value.every((entry) => entry === expected[0])
    : value === expected;
