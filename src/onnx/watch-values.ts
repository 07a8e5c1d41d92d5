// Makes values inside a model file its outputs too, leaving every other byte as it is.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { GraphProtoSchema, ModelProtoSchema, ValueInfoProtoSchema } from "onnx-buf";

/** Names in a file: of what its nodes compute, in topological order, and of its outputs. */
export interface NamedValues {
  readonly computed: readonly string[];
  readonly outputs: readonly string[];
}

export function namedValues(bytes: Uint8Array): NamedValues {
  const { node = [], output = [] } = fromBinary(ModelProtoSchema, bytes).graph ?? {};
  return {
    computed: node.flatMap((each) => each.output.filter((name) => name !== "")),
    outputs: output.map(({ name }) => name),
  };
}

/** Protobuf joins messages that follow one another, so that the outputs are simply appended to the file. */
export function watchValues(
  bytes: Uint8Array,
  { outputs }: NamedValues,
  names: readonly string[],
): Uint8Array<ArrayBuffer> {
  const output = names.filter((name) => !outputs.includes(name)).map((name) => create(ValueInfoProtoSchema, { name }));
  const addition = toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, { graph: create(GraphProtoSchema, { output }) }),
  );
  const result = new Uint8Array(bytes.length + addition.length);
  result.set(bytes);
  result.set(addition, bytes.length);
  return result;
}
