// What older opsets lack: operators, and attributes where these came later than 7.
import type { DType } from "../../ir/dtype.ts";
import type { Attribute, Node } from "../../ir/graph.ts";
import { isOpType, type OpType, opDefinition } from "../../ops/index.ts";
import { NeedsOpset, withAttributes } from "./downgrade.ts";

/** Since which opset values may be of these types. */
export const introducedTypes: Readonly<Partial<Record<DType, number>>> = { int4: 21, uint4: 21, int2: 25, uint2: 25 };

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

const attributes: Readonly<Partial<Record<OpType, Readonly<Record<string, NewAttribute>>>>> = {
  ArgMax: { select_last_index: { since: 12, default: 0 } },
  ArgMin: { select_last_index: { since: 12, default: 0 } },
  AveragePool: { ceil_mode: { since: 10, default: 0 }, dilations: { since: 19, default: [1] } },
  BatchNormalization: { training_mode: { since: 14, default: 0 } },
  Cast: { saturate: { since: 19, default: 1 } },
  DepthToSpace: { mode: { since: 11, default: "DCR" } },
  DequantizeLinear: quantization,
  MaxPool: {
    ceil_mode: { since: 10, default: 0 },
    dilations: { since: 10, default: [1] },
    storage_order: { since: 8, default: 0 },
  },
  QuantizeLinear: quantization,
  ReduceL1: reduction,
  ReduceL2: reduction,
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
  const first = opDefinition(node.op)?.introduced;
  if (typeof first === "number" && opset < first) throw new NeedsOpset(first, "the operator is newer");
}

/** Leaves out attributes that `opset` does not have and that say what it does anyway. */
export function dropNewAttributes(node: Node, opset: number): Node {
  const dropped: Record<string, undefined> = {};
  for (const [name, rule] of Object.entries(isOpType(node.op) ? (attributes[node.op] ?? {}) : {})) {
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
