// Attention: softmax(scale · Q Kᵀ + mask) V, read as the products that it is made of, so that they train and quantize.
import { numberAttribute } from "../../ops/attributes.ts";
import { type Replacement, replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

/** What a masked score is added: the least float32, which no softmax sees beside others. */
const masked = -3.4028234663852886e38;

interface Heads {
  /** [batch, heads, sequence, features] */
  readonly value: string;
  readonly heads: number;
  readonly features: number;
}

/** An input as [batch, heads, sequence, features], whether it comes so or as [batch, sequence, heads · features]. */
function headsOf(context: UpgradeContext, made: Replacement, input: number): Heads {
  const { node, opset, type } = context;
  const value = node.inputs[input];
  const { shape } = type(value);
  const known = (axis: number): number => {
    const size = shape[axis];
    if (typeof size === "number") return size;
    throw cannotUpgrade(node, opset, `size "${size}" of its input "${value}" must be known.`);
  };
  if (shape.length === 4) return { value, heads: known(1), features: known(3) };
  const name = input === 0 ? "q_num_heads" : "kv_num_heads";
  const heads = numberAttribute(node, name, 0);
  if (heads === 0) throw cannotUpgrade(node, opset, `inputs of 3 axes need ${name}.`);
  const features = known(2) / heads;
  const apart = made.reshape(value, [0, 0, heads, features]);
  return { value: made.call("Transpose", [apart], { perm: [0, 2, 1, 3] }), heads, features };
}

/** Each of the key's or value's heads serves several of the query's. */
function repeatHeads({ call, ints, reshape }: Replacement, { value, heads, features }: Heads, wanted: number): string {
  if (heads === wanted) return value;
  const apart = call("Unsqueeze", [value, ints([2])]);
  const spread = call("Expand", [apart, ints([1, 1, wanted / heads, 1, 1])]);
  return reshape(spread, [0, wanted, -1, features]);
}

/** Whether a value has a separate axis of heads. */
const isApart = ({ type }: UpgradeContext, value: string): boolean => type(value).shape.length === 4;
const lengthOf = (context: UpgradeContext, made: Replacement, value: string): string =>
  made.size(value, isApart(context, value) ? 2 : 1);

/** 0 to a length given as a tensor of shape [1], which is left out. */
function rangeOf({ constant }: UpgradeContext, { call, ints }: Replacement, length: string): string {
  const int = (value: number): string =>
    constant("int", { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(value)) });
  return call("Range", [int(0), call("Squeeze", [length, ints([0])]), int(1)]);
}

/**
 * [query, key], or [batch, 1, query, key] with lengths: a query sees the keys up to its own place. That comes after those of the
 * past; with lengths the last query's place is the last of them, as in ONNX Runtime.
 */
function causalMask(context: UpgradeContext, made: Replacement): string {
  const { call, ints } = made;
  const [query, key, , , past, , lengths] = context.node.inputs;
  const queries = rangeOf(context, made, lengthOf(context, made, query));
  const keys = lengthOf(context, made, key);
  if (lengths) {
    const before = call("Unsqueeze", [call("Sub", [lengths, lengthOf(context, made, query)]), ints([1, 2, 3])]);
    const places = call("Add", [call("Unsqueeze", [queries, ints([1])]), before]);
    return call("LessOrEqual", [rangeOf(context, made, keys), places]);
  }
  const before = past ? made.size(past, 2) : undefined;
  const places = call("Unsqueeze", [before ? call("Add", [queries, before]) : queries, ints([1])]);
  return call("LessOrEqual", [rangeOf(context, made, before ? call("Add", [keys, before]) : keys), places]);
}

/** [batch, 1, 1, key]: true for the valid keys of each sample, which come first; the others are padding. */
function lengthMask(context: UpgradeContext, made: Replacement, lengths: string): string {
  const keys = rangeOf(context, made, lengthOf(context, made, context.node.inputs[1]));
  return made.call("Less", [keys, made.call("Unsqueeze", [lengths, made.ints([1, 2, 3])])]);
}

/** Which keys a query sees, by all conditions at once; `undefined` where it sees all that a mask of numbers leaves it. */
function conditionOf(context: UpgradeContext, made: Replacement): string | undefined {
  const { node } = context;
  const [, , , , , , lengths] = node.inputs;
  const mask = boolMask(context);
  const conditions = [
    ...(numberAttribute(node, "is_causal", 0) === 1 ? [causalMask(context, made)] : []),
    ...(lengths ? [lengthMask(context, made, lengths)] : []),
    ...(mask ? [mask] : []),
  ];
  return conditions.length > 0 ? conditions.reduce((all, each) => made.call("And", [all, each])) : undefined;
}

function boolMask({ node, type }: UpgradeContext): string | undefined {
  const mask = node.inputs[3];
  return mask && type(mask).dtype === "bool" ? mask : undefined;
}

function maskScores(context: UpgradeContext, made: Replacement, scores: string, sees: string | undefined): string {
  const { call, of } = made;
  const [query, , , mask] = context.node.inputs;
  const given = mask && !boolMask(context) ? call("Add", [scores, mask]) : scores;
  return sees ? call("Add", [given, call("Where", [sees, of(0, query), of(masked, query)])]) : given;
}

/** A query that sees no key gives 0, as in ONNX Runtime; without lengths a causal one sees the first at least. */
function weigh(context: UpgradeContext, made: Replacement, scores: string, sees: string | undefined): string {
  const { call, of } = made;
  const [query, , , , , , lengths] = context.node.inputs;
  const weights = call("Softmax", [scores], { axis: -1 });
  const mayHideAll = lengths || boolMask(context);
  return sees && mayHideAll ? call("Where", [sees, weights, of(0, query)]) : weights;
}

/** c · tanh(scores / c) */
function capped({ node }: UpgradeContext, { call, of }: Replacement, scores: string): string {
  const cap = numberAttribute(node, "softcap", 0);
  if (cap === 0) return scores;
  const [query] = node.inputs;
  return call("Mul", [call("Tanh", [call("Div", [scores, of(cap, query)])]), of(cap, query)]);
}

const withPast = (made: Replacement, past: string | undefined, heads: Heads): Heads =>
  past ? { ...heads, value: made.call("Concat", [past, heads.value], { axis: 2 }) } : heads;

export const attention: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node } = context;
    const made = replacement(context);
    const { call, of, reshape, finish } = made;
    const [, , , , pastKey, pastValue] = node.inputs;
    const query = headsOf(context, made, 0);
    const key = withPast(made, pastKey, headsOf(context, made, 1));
    const value = withPast(made, pastValue, headsOf(context, made, 2));
    const scale = numberAttribute(node, "scale", 1 / Math.sqrt(query.features));
    const keys = call("Transpose", [repeatHeads(made, key, query.heads)], { perm: [0, 1, 3, 2] });
    const scores = call("MatMul", [call("Mul", [query.value, of(scale, node.inputs[0])]), keys]);
    const cappedScores = capped(context, made, scores);
    const sees = conditionOf(context, made);
    const seen = maskScores(context, made, cappedScores, sees);
    const weights = weigh(context, made, seen, sees);
    const mixed = call("MatMul", [weights, repeatHeads(made, value, query.heads)]);
    const isWhole = isApart(context, node.inputs[0]);
    const joined = isWhole
      ? mixed
      : reshape(call("Transpose", [mixed], { perm: [0, 2, 1, 3] }), [0, 0, query.heads * value.features]);
    // In the order in which ONNX Runtime computes them: its soft cap comes before the mask.
    const shown = [scores, cappedScores, seen, weights][numberAttribute(node, "qk_matmul_output_mode", 0)];
    return finish(joined, key.value, value.value, shown ?? scores);
  },
};
