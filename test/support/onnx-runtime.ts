// ONNX Runtime as the oracle of one node.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
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
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { type DType, dtypes } from "../../src/ir/dtype.ts";
import type { Attribute, Node } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";

const onnxTypes: Readonly<Record<DType, TensorProto_DataType>> = {
  float32: TensorProto_DataType.FLOAT,
  float64: TensorProto_DataType.DOUBLE,
  float16: TensorProto_DataType.FLOAT16,
  bfloat16: TensorProto_DataType.BFLOAT16,
  int8: TensorProto_DataType.INT8,
  uint8: TensorProto_DataType.UINT8,
  int16: TensorProto_DataType.INT16,
  uint16: TensorProto_DataType.UINT16,
  int32: TensorProto_DataType.INT32,
  uint32: TensorProto_DataType.UINT32,
  int64: TensorProto_DataType.INT64,
  uint64: TensorProto_DataType.UINT64,
  bool: TensorProto_DataType.BOOL,
  int4: TensorProto_DataType.INT4,
  uint4: TensorProto_DataType.UINT4,
  int2: TensorProto_DataType.INT2,
  uint2: TensorProto_DataType.UINT2,
};

/** Attributes that ONNX declares as float (or floats); all other numbers are ints. */
const floatAttributes = new Set([
  "alpha",
  "beta",
  "bias",
  "cubic_coeff_a",
  "epsilon",
  "extrapolation_value",
  "gamma",
  "lambd",
  "momentum",
  "value_float",
  "value_floats",
]);

/** Attributes that hold an element type: its name with us, a number in ONNX. */
const dtypeAttributes = new Set(["to", "dtype", "output_dtype"]);

const isPacked = (dtype: DType): boolean => dtypes[dtype].bits === 4;

function rawData({ dtype, data }: Tensor): Uint8Array<ArrayBuffer> {
  if (!isPacked(dtype)) return new Uint8Array(data.slice().buffer as ArrayBuffer);
  const packed = new Uint8Array(Math.ceil(data.length / 2));
  data.forEach((value: number | bigint, i: number) => {
    packed[i >> 1] |= (Number(value) & 15) << (4 * (i & 1));
  });
  return packed;
}

const tensorProto = (name: string, value: Tensor): TensorProto =>
  create(TensorProtoSchema, {
    name,
    dims: value.shape.map(BigInt),
    dataType: onnxTypes[value.dtype],
    rawData: rawData(value),
  });

function attributeProto(name: string, value: Attribute): AttributeProto {
  const type = AttributeProto_AttributeType;
  const isFloat = floatAttributes.has(name);
  if (typeof value === "string" && dtypeAttributes.has(name))
    return create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(onnxTypes[value as DType]) });
  if (typeof value === "string")
    return create(AttributeProtoSchema, { name, type: type.STRING, s: new Uint8Array(Buffer.from(value)) });
  if (typeof value === "number")
    return isFloat
      ? create(AttributeProtoSchema, { name, type: type.FLOAT, f: value })
      : create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(value) });
  if ("dtype" in value) return create(AttributeProtoSchema, { name, type: type.TENSOR, t: tensorProto("", value) });
  if (isFloat) return create(AttributeProtoSchema, { name, type: type.FLOATS, floats: value.map(Number) });
  if (value.some((item: number | string) => typeof item === "string"))
    return create(AttributeProtoSchema, {
      name,
      type: type.STRINGS,
      strings: value.map((item: number | string) => new Uint8Array(Buffer.from(String(item)))),
    });
  return create(AttributeProtoSchema, { name, type: type.INTS, ints: value.map(BigInt) });
}

function valueInfo(name: string, { dtype, shape }: Tensor): ValueInfoProto {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: "dimValue", value: BigInt(size) } }),
  );
  const value = create(TypeProto_TensorSchema, {
    elemType: onnxTypes[dtype],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}

export interface OnnxNode {
  readonly op: string;
  readonly outputs: readonly string[];
  readonly attributes?: Node["attributes"];
}

function modelBytes(node: OnnxNode, inputs: readonly (Tensor | undefined)[], fed: ReadonlySet<number>, opset: number) {
  const names = inputs.map((input, i) => (input ? `input${i}` : ""));
  const present = inputs.flatMap((input, i) => (input ? [{ i, input, name: names[i] }] : []));
  const nodeProto = create(NodeProtoSchema, {
    opType: node.op,
    name: node.op,
    input: names,
    output: [...node.outputs],
    attribute: Object.entries(node.attributes ?? {}).map(([name, value]) => attributeProto(name, value)),
  });
  const graph = create(GraphProtoSchema, {
    name: "one-node",
    node: [nodeProto],
    initializer: present.filter(({ i }) => !fed.has(i)).map(({ name, input }) => tensorProto(name, input)),
    input: present.filter(({ i }) => fed.has(i)).map(({ name, input }) => valueInfo(name, input)),
    output: node.outputs.filter((name) => name !== "").map((name) => create(ValueInfoProtoSchema, { name })),
  });
  const model = create(ModelProtoSchema, {
    irVersion: opset > 22 ? 11n : 10n,
    opsetImport: [{ domain: "", version: BigInt(opset) }],
    graph,
  });
  return toBinary(ModelProtoSchema, model);
}

export interface OnnxRuntimeOptions {
  /** By default 24. */
  readonly opset?: number;
  /** Inputs given as initializers; 4-bit integers always are. */
  readonly constants?: readonly number[];
}

function fromOrt(value: OrtTensor): Tensor {
  const data = value.data as Tensor["data"];
  return { dtype: value.type as DType, shape: [...value.dims], data };
}

/** Runs one node without graph optimizations and gives its outputs in order. */
export async function runOnnxRuntime(
  node: OnnxNode,
  inputs: readonly (Tensor | undefined)[],
  { opset = 24, constants = [] }: OnnxRuntimeOptions = {},
): Promise<readonly (Tensor | undefined)[]> {
  const fed = new Set<number>();
  inputs.forEach((input, i) => {
    if (input && !isPacked(input.dtype) && !constants.includes(i)) fed.add(i);
  });
  const session = await InferenceSession.create(modelBytes(node, inputs, fed, opset), {
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const feeds: Record<string, OrtTensor> = {};
    for (const i of fed) {
      const { dtype, data, shape } = inputs[i] as Tensor;
      feeds[`input${i}`] = new OrtTensor(dtype as "float32", data as Float32Array, shape);
    }
    const results = await session.run(feeds);
    return node.outputs.map((name) => (name === "" ? undefined : fromOrt(results[name] as OrtTensor)));
  } finally {
    await session.release();
  }
}
