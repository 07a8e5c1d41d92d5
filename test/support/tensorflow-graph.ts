// A network in the form that tf2onnx gives a Keras model: pixels channels last, normalized inside; Transposes around and between.
import type { Graph } from "../../src/ir/graph.ts";
import { tensorOf } from "../../src/ir/tensor.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "./random.ts";

export const tensorflowSize = 8;
export const tensorflowOutputs = { scores: "Identity:0", features: "Identity_1:0", mask: "Identity_2:0" } as const;

/** input_1:0 [batch, 8, 8, 3] → scores [batch, 3], features [batch, 5], mask [batch, 4, 4, 2]. */
export function tensorflowGraph(): Graph {
  const random = createRandom(33);
  const build = buildOn();
  const drawn = (name: string, shape: readonly number[], deviation = 0.4, mean = 0): string => {
    const values = random.tensor("float64", shape).data as Float64Array;
    return build.constant(
      tensorOf(
        "float32",
        shape,
        Array.from(values, (value) => mean + deviation * value),
      ),
      `model/${name}:0`,
    );
  };
  const call = (op: string, inputs: readonly string[], name: string, attributes = {}): string =>
    build.node(op, inputs, attributes, `model/${name}`);
  const first = (value: string, name: string): string => call("Transpose", [value], name, { perm: [0, 3, 1, 2] });
  const last = (value: string, name: string): string => call("Transpose", [value], name, { perm: [0, 2, 3, 1] });
  const relu6 = (value: string, name: string): string => call("Clip", [value, build.scalar(0), build.scalar(6)], name);
  const dense = (value: string, name: string, from: number, to: number): string => {
    const product = call("MatMul", [value, drawn(`${name}/MatMul/ReadVariableOp`, [from, to])], `${name}/MatMul`);
    return call("Add", [product, drawn(`${name}/BiasAdd/ReadVariableOp`, [to])], `${name}/BiasAdd`);
  };

  const x = build.input("input_1:0", {
    dtype: "float32",
    shape: ["unk__30", tensorflowSize, tensorflowSize, 3],
  });
  const mean = build.constant(tensorOf("float32", [1, 1, 1, 3], [120, 115, 100]), "model/normalization/sub/y:0");
  const deviation = build.constant(tensorOf("float32", [1, 1, 1, 3], [60, 58, 55]), "model/normalization/Sqrt:0");
  const centred = call("Sub", [x, mean], "normalization/sub");
  const image = first(call("Div", [centred, deviation], "normalization/truediv"), "conv1/Conv2D__6");
  const conv = call("Conv", [image, drawn("conv1/Conv2D/ReadVariableOp", [8, 3, 3, 3])], "conv1/Conv2D", {
    auto_pad: "SAME_UPPER",
    strides: [2, 2],
    kernel_shape: [3, 3],
  });
  const statistics = [
    drawn("bn1/scale", [8], 0.2, 1),
    drawn("bn1/offset", [8]),
    drawn("bn1/mean", [8]),
    build.constant(tensorOf("float32", [8], new Array<number>(8).fill(1.5)), "model/bn1/variance:0"),
  ];
  const stem = relu6(call("BatchNormalization", [conv, ...statistics], "bn1/FusedBatchNormV3"), "relu6");
  const depthwise = call(
    "Conv",
    [stem, drawn("depthwise/ReadVariableOp", [8, 1, 3, 3]), drawn("depthwise/bias", [8], 0.1)],
    "depthwise/depthwise",
    { group: 8, auto_pad: "SAME_UPPER", kernel_shape: [3, 3], strides: [1, 1] },
  );
  const spread = last(relu6(depthwise, "relu6_1"), "add/add__20");
  const shifted = call("Add", [spread, drawn("add/y", [1, 1, 1, 8], 0.1)], "add/add");
  const trunk = relu6(
    call("Conv", [first(shifted, "add/add__24"), drawn("conv2/Conv2D/ReadVariableOp", [8, 8, 1, 1])], "conv2/Conv2D", {
      kernel_shape: [1, 1],
    }),
    "relu6_2",
  );

  const pooled = call("ReduceMean", [trunk, build.ints([2, 3])], "pool/Mean", { keepdims: 0 });
  const scores = call("Softmax", [dense(pooled, "scores", 8, 3)], "scores/Softmax", { axis: -1 });
  const flat = call("Reshape", [last(trunk, "flatten/Reshape__30"), build.ints([-1, 128])], "flatten/Reshape");
  const features = call("Tanh", [dense(flat, "features", 128, 5)], "features/Tanh");
  const pixels = call("Conv", [trunk, drawn("mask/ReadVariableOp", [2, 8, 1, 1])], "mask/Conv2D", {
    kernel_shape: [1, 1],
  });
  const mask = last(call("Sigmoid", [pixels], "mask/Sigmoid"), "mask/Sigmoid__40");
  return withOutputs(build.graph([scores, features, mask], "tf2onnx"), Object.values(tensorflowOutputs));
}

/** The graph with its outputs called as TensorFlow calls them. */
function withOutputs(graph: Graph, names: readonly string[]): Graph {
  const renamed = new Map(graph.outputs.map((output, i) => [output, names[i]]));
  const rename = (name: string): string => renamed.get(name) ?? name;
  return {
    ...graph,
    outputs: names,
    nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) })),
    values: new Map([...graph.values].map(([name, type]) => [rename(name), type])),
  };
}
