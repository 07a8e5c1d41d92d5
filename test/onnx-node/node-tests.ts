// ONNX's own node tests, as Debian's package libonnx-testdata installs them: models with inputs and expected outputs.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema, type TensorProto, TensorProtoSchema } from "onnx-buf";
import { FrostbitError } from "../../src/ir/errors.ts";
import type { OnnxModel } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { decodeTensor } from "../../src/onnx/decode-tensor.ts";
import { readOnnx } from "../../src/onnx/read.ts";

const root = "/usr/share/libonnx-testdata/data/node";

export const isInstalled = existsSync(root);

export const nodeTests: readonly string[] = isInstalled ? readdirSync(root).sort() : [];

export interface Loaded {
  readonly proto: ModelProto;
  readonly bytes: Uint8Array;
  readonly inputs: readonly TensorProto[];
  readonly outputs: readonly TensorProto[];
}

const read = (...path: readonly string[]): Uint8Array => readFileSync(join(root, ...path));

function tensorsOf(name: string, role: "input" | "output", count: number): TensorProto[] {
  const folder = join(name, "test_data_set_0");
  const present = new Set(readdirSync(join(root, folder)));
  return Array.from({ length: count }, (_, i) => `${role}_${i}.pb`)
    .filter((file) => present.has(file))
    .map((file) => fromBinary(TensorProtoSchema, read(folder, file)));
}

export const modelOf = (name: string): ModelProto => fromBinary(ModelProtoSchema, read(name, "model.onnx"));

export function loadNodeTest(name: string): Loaded {
  const proto = modelOf(name);
  const inputs = tensorsOf(name, "input", proto.graph?.input.length ?? 0);
  return {
    proto,
    bytes: read(name, "model.onnx"),
    inputs: inputs.map((tensor, i) => ({ ...tensor, name: proto.graph?.input[i].name ?? "" })),
    outputs: tensorsOf(name, "output", proto.graph?.output.length ?? 0),
  };
}

/** The distinct operators of a test's model. */
export const operatorsOf = ({ graph }: ModelProto): string[] => [
  ...new Set(graph?.node.map(({ opType }) => opType) ?? []),
];

export function tensorValue(proto: TensorProto): Tensor {
  const tensor = decodeTensor(proto, `tensor "${proto.name}"`, {
    external: undefined,
    unsupported: (what) => {
      throw new FrostbitError("UNSUPPORTED_OP", what);
    },
  });
  if (!tensor) throw new Error(`internal: "${proto.name}" was not decoded`);
  return tensor;
}

/** The model with what follows its first input as initializers: axes, shapes and the like, which models in the field hold as constants. */
function withInitializers({ proto, inputs }: Loaded): Uint8Array {
  const { graph } = proto;
  if (!graph) throw new Error("internal: no graph");
  const fed = new Set(inputs.slice(0, 1).map(({ name }) => name));
  return toBinary(ModelProtoSchema, {
    ...proto,
    graph: {
      ...graph,
      input: graph.input.filter(({ name }) => fed.has(name)),
      initializer: inputs.filter(({ name }) => !fed.has(name)),
    },
  });
}

const wantsConstants = (error: unknown): boolean =>
  error instanceof FrostbitError && /must be known|must be a constant|training mode/.test(error.message);

export function readNodeTest(name: string, loaded: Loaded): OnnxModel {
  try {
    return readOnnx(loaded.bytes, { name });
  } catch (error) {
    if (!wantsConstants(error)) throw error;
    return readOnnx(withInitializers(loaded), { name });
  }
}
