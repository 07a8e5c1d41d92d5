// Small ONNX files of the usual shapes, with seeded random weights, built from protobuf alone.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { createRandom, type Random } from "./random.ts";

type AttributeValue = number | readonly number[] | { readonly float: number };

/** What a model is put together from; each call gives the name of the value made. */
interface Maker {
  readonly node: (
    op: string,
    name: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, AttributeValue>>,
  ) => string;
  /** A float32 initializer. */
  readonly weight: (name: string, shape: readonly number[], value: (random: Random) => number) => string;
}

function attribute(name: string, value: AttributeValue): AttributeProto {
  const type = AttributeProto_AttributeType;
  if (typeof value === "number") return create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(value) });
  if ("float" in value) return create(AttributeProtoSchema, { name, type: type.FLOAT, f: value.float });
  return create(AttributeProtoSchema, { name, type: type.INTS, ints: value.map(BigInt) });
}

function valueInfo(name: string, shape: readonly (number | string)[]): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType: TensorProto_DataType.FLOAT,
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } }),
  });
}

interface Interface {
  readonly input: readonly (number | string)[];
  readonly classes: number;
  readonly seed: number;
}

function model({ input, classes, seed }: Interface, build: (make: Maker) => void): Uint8Array {
  const random = createRandom(seed);
  const nodes: NodeProto[] = [];
  const initializers: TensorProto[] = [];
  build({
    node: (op, name, inputs, attributes = {}) => {
      const output = nodes.some((node) => node.output.includes(name)) ? `${name}_out` : name;
      nodes.push(
        create(NodeProtoSchema, {
          opType: op,
          name: `/${name}/${op}`,
          input: [...inputs],
          output: [output],
          attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
        }),
      );
      return output;
    },
    weight: (name, shape, value) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const data = Float32Array.from({ length: size }, () => value(random));
      initializers.push(
        create(TensorProtoSchema, {
          name,
          dims: shape.map(BigInt),
          dataType: TensorProto_DataType.FLOAT,
          rawData: new Uint8Array(data.buffer),
        }),
      );
      return name;
    },
  });
  const graph = create(GraphProtoSchema, {
    name: "tiny",
    node: nodes,
    initializer: initializers,
    input: [valueInfo("x", input)],
    output: [valueInfo("logits", [input[0], classes])],
  });
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 7n,
      producerName: "tiny-models",
      opsetImport: [{ domain: "", version: 13n }],
      graph,
    }),
  );
}

/** He's initialization, so that values neither vanish nor explode. */
const scaled =
  (fanIn: number) =>
  (random: Random): number =>
    random.normal() * Math.sqrt(2 / fanIn);

function convBatchNorm(
  make: Maker,
  name: string,
  x: string,
  [from, to]: readonly [number, number],
  stride = 1,
): string {
  const weight = make.weight(`${name}.weight`, [to, from, 3, 3], scaled(from * 9));
  const conv = make.node("Conv", name, [x, weight], {
    kernel_shape: [3, 3],
    pads: [1, 1, 1, 1],
    strides: [stride, stride],
    dilations: [1, 1],
    group: 1,
  });
  const parameters = [
    make.weight(`${name}_bn.weight`, [to], (random) => random.uniform(0.5, 1.5)),
    make.weight(`${name}_bn.bias`, [to], (random) => random.uniform(-0.2, 0.2)),
    make.weight(`${name}_bn.running_mean`, [to], (random) => random.uniform(-0.2, 0.2)),
    make.weight(`${name}_bn.running_var`, [to], (random) => random.uniform(0.5, 1.5)),
  ];
  return make.node("BatchNormalization", `${name}_bn`, [conv, ...parameters], { epsilon: { float: 1e-5 } });
}

function linear(make: Maker, name: string, x: string, [from, to]: readonly [number, number], output = name): string {
  const weight = make.weight(`${name}.weight`, [to, from], scaled(from));
  const bias = make.weight(`${name}.bias`, [to], (random) => random.uniform(-0.1, 0.1));
  return make.node("Gemm", output, [x, weight, bias], { transB: 1 });
}

function classifier(make: Maker, x: string, channels: number, classes: number): void {
  const pooled = make.node("GlobalAveragePool", "pool", [x]);
  linear(make, "fc", make.node("Flatten", "flat", [pooled], { axis: 1 }), [channels, classes], "logits");
}

export interface TinyOptions {
  readonly seed?: number;
  /** "N", or a number that the file fixes. */
  readonly batch?: number | string;
  readonly classes?: number;
  readonly size?: number;
}

/** Conv, BN, Relu twice, pooled: x [N, 3, size, size] → logits [N, classes]. */
export function tinyConvNet({ seed = 1, batch = "N", classes = 10, size = 32 }: TinyOptions = {}): Uint8Array {
  return model({ input: [batch, 3, size, size], classes, seed }, (make) => {
    const first = make.node("Relu", "relu1", [convBatchNorm(make, "conv1", "x", [3, 8], 2)]);
    const second = make.node("Relu", "relu2", [convBatchNorm(make, "conv2", first, [8, 16], 2)]);
    classifier(make, second, 16, classes);
  });
}

/** One residual block: x [N, 3, size, size] → logits [N, classes]. */
export function tinyResidualNet({ seed = 2, batch = "N", classes = 10, size = 32 }: TinyOptions = {}): Uint8Array {
  return model({ input: [batch, 3, size, size], classes, seed }, (make) => {
    const stem = make.node("Relu", "relu1", [convBatchNorm(make, "stem", "x", [3, 8], 2)]);
    const inner = make.node("Relu", "relu2", [convBatchNorm(make, "block.conv1", stem, [8, 8])]);
    const sum = make.node("Add", "add", [convBatchNorm(make, "block.conv2", inner, [8, 8]), stem]);
    classifier(make, make.node("Relu", "relu3", [sum]), 8, classes);
  });
}

/** Two layers: x [N, features] → logits [N, classes]. */
export function tinyMlp({ seed = 3, batch = "N", classes = 4, size = 6 }: TinyOptions = {}): Uint8Array {
  return model({ input: [batch, size], classes, seed }, (make) => {
    const hidden = make.node("Relu", "relu1", [linear(make, "fc1", "x", [size, 16])]);
    linear(make, "fc2", hidden, [16, classes], "logits");
  });
}

/** Records in CIFAR-10's binary form, random but seeded: a class shifts its images' mean. */
export function tinyCifar10(records: number, seed = 4): Uint8Array {
  const random = createRandom(seed);
  const bytes = new Uint8Array(records * 3073);
  for (let record = 0; record < records; record++) {
    const label = random.integer(0, 10);
    bytes[record * 3073] = label;
    for (let i = 1; i < 3073; i++) bytes[record * 3073 + i] = random.integer(0, 160) + 9 * label;
  }
  return bytes;
}
