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

/** Whether a value has its heads on an axis of their own. */
const isApart = ({ type }: UpgradeContext, value: string): boolean => type(value).shape.length === 4;
const lengthOf = (context: UpgradeContext, made: Replacement, value: string): string =>
  made.size(value, isApart(context, value) ? 2 : 1);

/** [query, key]: a query sees the keys up to its own place, which comes after those of the past. */
function causalMask(context: UpgradeContext, made: Replacement): string {
  const { node, constant } = context;
  const { call, ints } = made;
  const [query, key, , , past] = node.inputs;
  const int = (value: number): string =>
    constant("int", { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(value)) });
  const scalarOf = (size: string): string => call("Squeeze", [size, ints([0])]);
  const range = (length: string): string => call("Range", [int(0), length, int(1)]);
  const queries = scalarOf(lengthOf(context, made, query));
  const keys = scalarOf(lengthOf(context, made, key));
  if (!past) return call("LessOrEqual", [range(keys), call("Unsqueeze", [range(queries), ints([1])])]);
  const before = scalarOf(made.size(past, 2));
  const places = call("Unsqueeze", [call("Add", [range(queries), before]), ints([1])]);
  return call("LessOrEqual", [range(call("Add", [keys, before])), places]);
}

/** Adds 0 where the condition holds, else what masks. */
function addMask({ call, of }: Replacement, scores: string, condition: string, like: string): string {
  return call("Add", [scores, call("Where", [condition, of(0, like), of(masked, like)])]);
}

function maskScores(context: UpgradeContext, made: Replacement, scores: string): string {
  const { node, type } = context;
  const [query, , , mask] = node.inputs;
  const isCausal = numberAttribute(node, "is_causal", 0) === 1;
  const seen = isCausal ? addMask(made, scores, causalMask(context, made), query) : scores;
  if (!mask) return seen;
  return type(mask).dtype === "bool" ? addMask(made, seen, mask, query) : made.call("Add", [seen, mask]);
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
    const { node, opset } = context;
    const made = replacement(context);
    const { call, of, reshape, finish } = made;
    const [, , , , pastKey, pastValue, lengths] = node.inputs;
    if (lengths) throw cannotUpgrade(node, opset, "nonpad_kv_seqlen is not handled.");
    const query = headsOf(context, made, 0);
    const key = withPast(made, pastKey, headsOf(context, made, 1));
    const value = withPast(made, pastValue, headsOf(context, made, 2));
    const scale = numberAttribute(node, "scale", 1 / Math.sqrt(query.features));
    const keys = call("Transpose", [repeatHeads(made, key, query.heads)], { perm: [0, 1, 3, 2] });
    const scores = call("MatMul", [call("Mul", [query.value, of(scale, node.inputs[0])]), keys]);
    const cappedScores = capped(context, made, scores);
    const seen = maskScores(context, made, cappedScores);
    const weights = call("Softmax", [seen], { axis: -1 });
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
