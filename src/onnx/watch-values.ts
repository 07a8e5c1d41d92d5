// Makes values inside a model file its outputs too, leaving every other byte as it is.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { GraphProtoSchema, ModelProtoSchema, ValueInfoProtoSchema } from "onnx-buf";

/** Names of what a file's nodes compute, in topological order. */
export function computedValues(bytes: Uint8Array): readonly string[] {
  const nodes = fromBinary(ModelProtoSchema, bytes).graph?.node ?? [];
  return nodes.flatMap((node) => node.output.filter((output) => output !== ""));
}

/** Names of a file's outputs. */
export const outputNames = (bytes: Uint8Array): readonly string[] =>
  fromBinary(ModelProtoSchema, bytes).graph?.output.map(({ name }) => name) ?? [];

/** Protobuf joins messages that follow one another, so that the outputs are simply appended to the file. */
export function watchValues(bytes: Uint8Array, names: readonly string[]): Uint8Array<ArrayBuffer> {
  const outputs = new Set(outputNames(bytes));
  const output = names.filter((name) => !outputs.has(name)).map((name) => create(ValueInfoProtoSchema, { name }));
  const addition = toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, { graph: create(GraphProtoSchema, { output }) }),
  );
  const result = new Uint8Array(bytes.length + addition.length);
  result.set(bytes);
  result.set(addition, bytes.length);
  return result;
}
