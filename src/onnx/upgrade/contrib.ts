// Operators that ONNX Runtime's optimizations put into files, read as the ones of ONNX that they stand for.
import { numberAttribute, numbersAttribute, stringAttribute } from "../../ops/attributes.ts";
import { contribAttention } from "./contrib-attention.ts";
import { matMulNBits } from "./matmul-nbits.ts";
import { type Replacement, replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext, withoutAttributes } from "./upgrade.ts";

/** In the form of `schemas`, from ONNX Runtime's documentation of its operators; element types are left to it. */
export const contribSchemas: Readonly<Record<string, readonly string[]>> = {
  SimplifiedLayerNormalization: ["1|:12 :12|1-2|axis:i epsilon:f stash_type:i"],
  "com.microsoft::Attention": [
    "1|:12 :12 :12? :12? :12? :12? :12?|1-2|do_rotary:i mask_filter_value:f num_heads!:i past_present_share_buffer:i qkv_hidden_sizes:I rotary_embedding_dim:i scale:f unidirectional:i",
  ],
  "com.microsoft::BiasGelu": ["1|:12 :12|1|"],
  "com.microsoft::DequantizeLinear": ["1|:12 :12 :12?|1|axis:i block_size:i"],
  "com.microsoft::EmbedLayerNormalization": [
    "1|:12 :12? :12 :12 :12? :12 :12 :12? :12?|1-3|epsilon:f mask_index_type:i",
  ],
  "com.microsoft::FastGelu": ["1|:12 :12?|1|"],
  "com.microsoft::FusedConv": [
    "1|:12 :12 :12? :12?|1|activation:s activation_params:F auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I",
  ],
  "com.microsoft::FusedGemm": [
    "1|:12 :12 :12?|1|activation:s activation_alpha:f activation_beta:f activation_gamma:f alpha:f beta:f transA:i transB:i",
  ],
  "com.microsoft::FusedMatMul": ["1|:12 :12|1|alpha:f transA:i transB:i transBatchA:i transBatchB:i"],
  "com.microsoft::Gelu": ["1|:12|1|"],
  "com.microsoft::MatMulNBits": [
    "1|:12 :12 :12 :12? :12? :12?|1|K!:i N!:i accuracy_level:i bits:i block_size!:i weight_prepacked:i",
  ],
  "com.microsoft::QuantizeLinear": ["1|:12 :12 :12?|1|axis:i block_size:i"],
  "com.microsoft::QuickGelu": ["1|:12|1|alpha:f"],
  "com.microsoft::SkipLayerNormalization": ["1|:12 :12 :12 :12? :12?|1-4|epsilon:f"],
  "com.microsoft::SkipSimplifiedLayerNormalization": ["1|:12 :12 :12 :12?|1-4|epsilon:f"],
  "com.microsoft::TransposeMatMul": ["1|:12 :12|1|alpha:f transA:i transB:i"],
};

/** A rule for nodes of any opset that gives the values of the outputs. */
const asMade = (make: (context: UpgradeContext, made: Replacement) => readonly string[]): Upgrade => ({
  before: always,
  upgrade: (context) => {
    const made = replacement(context);
    return made.finish(...make(context, made));
  },
});

/** The activation that a node names, with its numbers in the order of `parameters`. */
function activated(
  { node, opset }: UpgradeContext,
  { call, of }: Replacement,
  value: string,
  parameters: readonly number[],
): string {
  const name = stringAttribute(node, "activation", "");
  const [first, second] = parameters;
  switch (name) {
    case "":
      return value;
    case "Relu":
    case "Tanh":
    case "Sigmoid":
      return call(name, [value]);
    case "LeakyRelu":
      return call(name, [value], { alpha: first ?? 0.01 });
    case "HardSigmoid":
      return call(name, [value], { alpha: first ?? 0.2, beta: second ?? 0.5 });
    case "Clip":
      return call(name, [value, of(first, node.inputs[0]), of(second, node.inputs[0])]);
    default:
      throw cannotUpgrade(node, opset, `its activation is "${name}", which is not handled.`);
  }
}

/** y = activation(conv(x, w) + bias + z) */
const fusedConv = asMade((context, made) => {
  const { node } = context;
  const [x, w, bias = "", z = ""] = node.inputs;
  const attributes = withoutAttributes(node, "activation", "activation_params");
  const convolved = made.call("Conv", bias === "" ? [x, w] : [x, w, bias], attributes);
  const sum = z === "" ? convolved : made.call("Add", [convolved, z]);
  return [activated(context, made, sum, numbersAttribute(node, "activation_params", []))];
});

/** y = activation(gemm(a, b, c)) */
const fusedGemm = asMade((context, made) => {
  const { node } = context;
  const names = ["activation_alpha", "activation_beta", "activation_gamma"];
  const given = names.map((name) => numberAttribute(node, name)).filter((value) => value !== undefined);
  const product = made.call("Gemm", node.inputs, withoutAttributes(node, "activation", ...names));
  return [activated(context, made, product, given)];
});

/** y = alpha · a b, each transposed in its last two axes or not */
const fusedMatMul = asMade((context, { call, of }) => {
  const { node, opset, type } = context;
  const batched = ["transBatchA", "transBatchB"].find((name) => numberAttribute(node, name, 0) !== 0);
  if (batched) throw cannotUpgrade(node, opset, `${batched} is not handled.`);
  const transposed = (value: string, name: string): string => {
    const rank = type(value).shape.length;
    if (numberAttribute(node, name, 0) === 0 || rank < 2) return value;
    const perm = [...Array.from({ length: rank - 2 }, (_, axis) => axis), rank - 1, rank - 2];
    return call("Transpose", [value], { perm });
  };
  const [a, b] = node.inputs;
  const product = call("MatMul", [transposed(a, "transA"), transposed(b, "transB")]);
  const alpha = numberAttribute(node, "alpha", 1);
  return [alpha === 1 ? product : call("Mul", [product, of(alpha, a)])];
});

/** y = gelu(x + bias) */
const gelu = (approximate: "none" | "tanh"): Upgrade =>
  asMade(({ node: { inputs } }, { call }) => {
    const [x, bias = ""] = inputs;
    return [call("Gelu", [bias === "" ? x : call("Add", [x, bias])], { approximate })];
  });

/** y = x · sigmoid(alpha · x) */
const quickGelu = asMade(({ node }, { call, of }) => {
  const [x] = node.inputs;
  return [call("Mul", [x, call("Sigmoid", [call("Mul", [x, of(numberAttribute(node, "alpha", 1.702), x)])])])];
});

/** y = norm(x + skip + bias); the fourth output is what is normalized. */
const skipNormalization = (op: "LayerNormalization" | "RMSNormalization"): Upgrade =>
  asMade(({ node, opset, isUsed }, { call }) => {
    const statistics = node.outputs.slice(1, 3).find((output) => output !== "" && isUsed(output));
    if (statistics) throw cannotUpgrade(node, opset, `its statistics "${statistics}" are used, which is not handled.`);
    const [x, skip, gamma, ...rest] = node.inputs;
    const [beta = "", bias = ""] = op === "LayerNormalization" ? rest : ["", ...rest];
    const skipped = call("Add", [x, skip]);
    const sum = bias === "" ? skipped : call("Add", [skipped, bias]);
    const parameters = beta === "" ? [gamma] : [gamma, beta];
    const epsilon = numberAttribute(node, "epsilon", op === "LayerNormalization" ? 1e-12 : 1e-6);
    return [call(op, [sum, ...parameters], { axis: -1, epsilon }), "", "", sum];
  });

/** y = norm(word + position + segment); the third output is their sum. */
const embedLayerNormalization = asMade(({ node, opset, isUsed, type, constant }, { call, ints, size }) => {
  const [ids, segments = "", words, positions, segmentTable = "", gamma, beta, mask = "", places = ""] = node.inputs;
  const index = node.outputs[1] ?? "";
  if (index !== "" && isUsed(index) && mask !== "")
    throw cannotUpgrade(node, opset, `it counts its mask for "${index}", which is not handled.`);
  const whole = (value: string): string =>
    type(value).dtype === "int64" ? value : call("Cast", [value], { to: "int64" });
  const row = (table: string, indices: string): string => call("Gather", [table, indices], { axis: 0 });
  const int = (value: number): string =>
    constant("int", { dtype: "int64", shape: [], data: BigInt64Array.of(BigInt(value)) });
  const range = (): string => call("Range", [int(0), call("Squeeze", [size(ids, 1), ints([0])]), int(1)]);
  const placed = call("Add", [row(words, whole(ids)), row(positions, places === "" ? range() : whole(places))]);
  const sum = segments === "" ? placed : call("Add", [placed, row(segmentTable, whole(segments))]);
  const epsilon = numberAttribute(node, "epsilon", 1e-12);
  return [call("LayerNormalization", [sum, gamma, beta], { axis: -1, epsilon }), "", sum];
});

/** RMSNormalization under the name that it had before ONNX had it. */
const simplifiedLayerNormalization = asMade(({ node, opset, isUsed }, { call }) => {
  const deviation = node.outputs[1] ?? "";
  if (deviation !== "" && isUsed(deviation))
    throw cannotUpgrade(node, opset, `its statistics "${deviation}" are used, which is not handled.`);
  const attributes = { axis: numberAttribute(node, "axis", -1), epsilon: numberAttribute(node, "epsilon", 1e-5) };
  return [call("RMSNormalization", node.inputs, attributes)];
});

const renamed = (op: string): Upgrade => ({ before: always, upgrade: ({ node }) => [{ ...node, op }] });

export const contribUpgrades: Readonly<Record<string, readonly Upgrade[]>> = {
  SimplifiedLayerNormalization: [simplifiedLayerNormalization],
  "com.microsoft::Attention": [contribAttention],
  "com.microsoft::BiasGelu": [gelu("none")],
  "com.microsoft::DequantizeLinear": [renamed("DequantizeLinear")],
  "com.microsoft::EmbedLayerNormalization": [embedLayerNormalization],
  "com.microsoft::FastGelu": [gelu("tanh")],
  "com.microsoft::FusedConv": [fusedConv],
  "com.microsoft::FusedGemm": [fusedGemm],
  "com.microsoft::FusedMatMul": [fusedMatMul],
  "com.microsoft::Gelu": [gelu("none")],
  "com.microsoft::MatMulNBits": [matMulNBits],
  "com.microsoft::QuantizeLinear": [renamed("QuantizeLinear")],
  "com.microsoft::QuickGelu": [quickGelu],
  "com.microsoft::SkipLayerNormalization": [skipNormalization("LayerNormalization")],
  "com.microsoft::SkipSimplifiedLayerNormalization": [skipNormalization("RMSNormalization")],
  "com.microsoft::TransposeMatMul": [fusedMatMul],
};
