// ONNX Runtime's Attention: one product for query, key and value, then softmax(scale · Q Kᵀ + mask) V.
import { numberAttribute } from "../../ops/attributes.ts";
import { type Replacement, replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

function checkForm({ node, opset }: UpgradeContext): void {
  const flags = ["unidirectional", "do_rotary", "past_present_share_buffer"];
  const flag = flags.find((name) => numberAttribute(node, name, 0) !== 0);
  if (flag) throw cannotUpgrade(node, opset, `${flag} is not handled.`);
  if (node.attributes["qkv_hidden_sizes"]) throw cannotUpgrade(node, opset, "qkv_hidden_sizes is not handled.");
  if (node.inputs[4] || node.inputs[6] || node.outputs[1])
    throw cannotUpgrade(node, opset, "the keys and values of the past are not handled.");
}

/** What is added to the scores: (1 − mask) · filter, of shape [batch, 1, 1 or query, key]. */
function maskOf({ node, opset, type, constant }: UpgradeContext, made: Replacement, mask: string): string {
  const { call, of, ints, size } = made;
  const [x] = node.inputs;
  const { shape } = type(mask);
  const int = (value: number): string =>
    constant("int", { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(value)) });
  const seen = (): string => {
    if (shape.length === 2 && shape[1] === type(x).shape[1]) return call("Unsqueeze", [mask, ints([1, 2])]);
    if (shape.length === 3) return call("Unsqueeze", [mask, ints([1])]);
    if (shape.length !== 1 || shape[0] !== type(x).shape[0])
      throw cannotUpgrade(node, opset, `a mask of shape [${shape.join(", ")}] is not handled.`);
    const keys = call("Range", [int(0), call("Squeeze", [size(x, 1), ints([0])]), int(1)]);
    const lengths = call("Cast", [mask], { to: "int64" });
    return call("Less", [keys, call("Unsqueeze", [lengths, ints([1, 2, 3])])]);
  };
  const weights = call("Cast", [seen()], { to: type(x).dtype });
  const filter = numberAttribute(node, "mask_filter_value", -10_000);
  return call("Mul", [call("Sub", [of(1, x), weights]), of(filter, x)]);
}

export const contribAttention: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, opset, type } = context;
    checkForm(context);
    const made = replacement(context);
    const { call, of, ints, reshape, finish } = made;
    const [x, weights, bias = "", mask = "", , attentionBias = ""] = node.inputs;
    const heads = numberAttribute(node, "num_heads", 1);
    const width = Number(type(weights).shape[1]) / 3;
    const features = width / heads;
    if (!Number.isInteger(features))
      throw cannotUpgrade(
        node,
        opset,
        `its weight [${type(weights).shape.join(", ")}] does not divide into 3 times ${heads} heads.`,
      );
    const product = call("MatMul", [x, weights]);
    const projected = bias === "" ? product : call("Add", [product, bias]);
    const part = (i: number): string => {
      const cut = call("Slice", [projected, ints([i * width]), ints([(i + 1) * width]), ints([-1])]);
      return call("Transpose", [reshape(cut, [0, 0, heads, features])], { perm: [0, 2, 1, 3] });
    };
    const [query, key, value] = [0, 1, 2].map(part);
    const scale = numberAttribute(node, "scale", 0) || 1 / Math.sqrt(features);
    const keys = call("Transpose", [key], { perm: [0, 1, 3, 2] });
    const scores = call("Mul", [call("MatMul", [query, keys]), of(scale, x)]);
    const terms = [
      ...(mask === "" ? [] : [maskOf(context, made, mask)]),
      ...(attentionBias === "" ? [] : [attentionBias]),
    ];
    const masked = terms.reduce((sum, term) => call("Add", [sum, term]), scores);
    const mixed = call("MatMul", [call("Softmax", [masked], { axis: -1 }), value]);
    const joined = call("Transpose", [mixed], { perm: [0, 2, 1, 3] });
    return finish(reshape(joined, [0, 0, width]));
  },
};
