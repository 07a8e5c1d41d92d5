// Small ONNX models, written out field by field, whatever nonsense they hold.
import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";

export { DataType };

export type Attributes = Readonly<Record<string, AttributeProto>>;

const attribute = (fields: Partial<AttributeProto>): AttributeProto =>
  create(AttributeProtoSchema, fields as Partial<Omit<AttributeProto, "$typeName" | "$unknown">>);

export const float = (f: number): AttributeProto => attribute({ type: AttributeType.FLOAT, f });
export const floats = (values: readonly number[]): AttributeProto =>
  attribute({ type: AttributeType.FLOATS, floats: [...values] });
export const int = (i: number | bigint): AttributeProto => attribute({ type: AttributeType.INT, i: BigInt(i) });
export const ints = (values: readonly number[]): AttributeProto =>
  attribute({ type: AttributeType.INTS, ints: values.map(BigInt) });
export const text = (value: string): AttributeProto =>
  attribute({ type: AttributeType.STRING, s: new Uint8Array(new TextEncoder().encode(value)) });

export const node = (
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Attributes = {},
  fields: { readonly name?: string; readonly domain?: string } = {},
): NodeProto =>
  create(NodeProtoSchema, {
    opType,
    input: [...input],
    output: [...output],
    name: fields.name ?? opType.toLowerCase(),
    domain: fields.domain ?? "",
    attribute: Object.entries(attributes).map(([name, value]) => ({ ...value, name })),
  });

/** A float32 initializer, by default of the values 0.1, 0.2, … */
export function weights(name: string, dims: readonly number[], values?: readonly number[]): TensorProto {
  const count = dims.reduce((product, dim) => product * dim, 1);
  const floatData = values ? [...values] : Array.from({ length: Math.max(count, 0) }, (_, i) => (i + 1) / 10);
  return create(TensorProtoSchema, { name, dims: dims.map(BigInt), dataType: DataType.FLOAT, floatData });
}

/** A scalar initializer. */
export const bool = (name: string, isTrue: boolean): TensorProto =>
  tensorProto({ name, dims: [], dataType: DataType.BOOL, int32Data: [Number(isTrue)] });
export const int64s = (name: string, values: readonly number[]): TensorProto =>
  create(TensorProtoSchema, {
    name,
    dims: [BigInt(values.length)],
    dataType: DataType.INT64,
    int64Data: values.map(BigInt),
  });

type TensorFields = Partial<Omit<TensorProto, "$typeName" | "$unknown" | "externalData">> & {
  readonly external?: Readonly<Record<string, string>>;
};

export const tensorProto = ({ external = {}, ...fields }: TensorFields): TensorProto =>
  create(TensorProtoSchema, {
    ...fields,
    externalData: Object.entries(external).map(([key, value]) => ({
      $typeName: "onnx.StringStringEntryProto" as const,
      key,
      value,
    })),
  });

export const value = (
  name: string,
  dims: readonly (number | string)[],
  elemType: number = DataType.FLOAT,
): ValueInfoProto => {
  const dim = dims.map((size) => ({
    value:
      typeof size === "number"
        ? { case: "dimValue" as const, value: BigInt(size) }
        : { case: "dimParam" as const, value: size },
  }));
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType, shape: { dim } } } },
  });
};

/** An output whose type is left to inference. */
export const untyped = (name: string): ValueInfoProto => create(ValueInfoProtoSchema, { name });

/** An output whose shape is left to inference. */
export const shapeless = (name: string, elemType: number): ValueInfoProto =>
  create(ValueInfoProtoSchema, { name, type: { value: { case: "tensorType", value: { elemType } } } });

export interface ModelParts {
  readonly nodes: readonly NodeProto[];
  readonly inputs?: readonly ValueInfoProto[];
  readonly outputs?: readonly ValueInfoProto[];
  readonly initializers?: readonly TensorProto[];
  readonly opset?: number | "none";
}

/** By default of opset 17, with the float input x [1, 2, 4, 4] and the output y. */
export function modelProto(parts: ModelParts): ModelProto {
  const { nodes, inputs = [value("x", [1, 2, 4, 4])], outputs = [untyped("y")], initializers = [] } = parts;
  const opset = parts.opset ?? 17;
  return create(ModelProtoSchema, {
    irVersion: 8n,
    producerName: "test",
    opsetImport: opset === "none" ? [] : [{ domain: "", version: BigInt(opset) }],
    graph: create(GraphProtoSchema, {
      name: "test",
      node: [...nodes],
      input: [...inputs],
      output: [...outputs],
      initializer: [...initializers],
    }),
  });
}

export const modelBytes = (parts: ModelParts): Uint8Array<ArrayBuffer> => toBinary(ModelProtoSchema, modelProto(parts));
