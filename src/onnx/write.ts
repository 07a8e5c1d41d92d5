// Graph → ONNX bytes of the opset asked for.
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { packedBytes } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import { type Dim, describeNode, type Graph, type Node, type OnnxModel } from "../ir/graph.ts";
import { sizeOf } from "../ir/tensor.ts";
import { uniqueNamesIn } from "../ir/unique-names.ts";
import { isOwn, opDefinition } from "../ops/index.ts";
import { narrowHalf } from "../passes/half-precision.ts";
import { requiredOutputs } from "./check-schema.ts";
import { dtypeCode } from "./data-types.ts";
import { newestOpset, oldestOpset } from "./decode-model.ts";
import { downgradeGraph } from "./downgrade/downgrade-graph.ts";
import { introducedTypes } from "./downgrade/introduced.ts";
import { encodeAttribute } from "./encode-attribute.ts";
import { type EncodeTensor, type ExternalTarget, externalEncoder, tensorPieces } from "./encode-tensor.ts";
import { withTables } from "./level-tables.ts";
import { packsHalfBytes, withPackedIntegers } from "./packed-integers.ts";
import { fieldNumbers, fieldOf, joinPieces, type Piece, pieceOf } from "./pieces.ts";

/** How `writeOnnx` writes. */
export interface WriteOptions {
  /** 7 to 25; nodes take the form that this opset has. */
  readonly opset: number;
  /** Takes initializers of 1 KB and more, so that the model may be larger than protobuf's 2 GB. */
  readonly externalData?: ExternalTarget;
}

/** Protobuf ends at 2 GB; the rest is for nodes and copies. */
const maxInlineBytes = 1.5e9;
const maxShown = 5;

/** The oldest file format version that goes with each opset; below 4 every initializer would have to be an input too. */
const irVersions: ReadonlyMap<number, number> = new Map([
  ...[7, 8, 9].map((opset) => [opset, 4] as const),
  [10, 5],
  [11, 6],
  ...[12, 13, 14].map((opset) => [opset, 7] as const),
  ...[15, 16, 17, 18].map((opset) => [opset, 8] as const),
  ...[19, 20].map((opset) => [opset, 9] as const),
  ...[21, 22].map((opset) => [opset, 10] as const),
  [23, 11],
  [24, 12],
  [25, 13],
]);

/**
 * The bytes of an ONNX file. Throws UNSUPPORTED_OP, naming the lowest opset that would do, for nodes that `opset` cannot express.
 *
 * @example
 * const bytes = writeOnnx(model, { opset: Math.max(model.origin.opset, 13) });
 */
export function writeOnnx(
  { graph: given, origin }: OnnxModel,
  { opset, externalData }: WriteOptions,
): Uint8Array<ArrayBuffer> {
  if (!Number.isInteger(opset) || opset < oldestOpset || opset > newestOpset)
    throw new FrostbitError("BAD_OPTION", `opset is ${opset}; expected ${oldestOpset} to ${newestOpset}.`);
  const float = withTables(withPackedIntegers(given));
  const graph = origin.half ? narrowHalf(float, origin.half) : float;
  assert(graph.variables.length === 0, `writeOnnx of a graph with ${graph.variables.length} variables`);
  checkOperators(graph);
  checkSize(graph, externalData);
  const before: MessageInitShape<typeof ModelProtoSchema> = {
    irVersion: BigInt(irVersions.get(opset) ?? 0),
    producerName: origin.producerName,
    producerVersion: origin.producerVersion,
    domain: origin.domain,
    modelVersion: origin.modelVersion,
    docString: origin.docString,
  };
  const after: MessageInitShape<typeof ModelProtoSchema> = {
    opsetImport: opsetImports(graph, opset),
    metadataProps: [...origin.metadata].map(([key, value]) => create(StringStringEntryProtoSchema, { key, value })),
  };
  const encode = externalData ? externalEncoder(externalData) : tensorPieces;
  return joinPieces([
    part(ModelProtoSchema, before),
    ...fieldOf(fieldNumbers.modelGraph, encodeGraph(withRequiredOutputs(downgradeGraph(graph, opset), opset), encode)),
    part(ModelProtoSchema, after),
  ]);
}

/** The oldest opset from `least` on that has all operators and types: what a file was read as may be newer than its own opset. */
export function opsetFor(graph: Graph, least: number): number {
  const { nodes, values } = graph;
  let result = packsHalfBytes(graph) ? Math.max(least, introducedTypes.int4 ?? 0) : least;
  for (const { op } of nodes) {
    const introduced = opDefinition(op)?.introduced;
    if (typeof introduced === "number") result = Math.max(result, introduced);
  }
  for (const { dtype } of values.values()) result = Math.max(result, introducedTypes[dtype] ?? 0);
  return result;
}

/** Some fields of a message. Those of one number after the other, as here, are the bytes that the message has as a whole. */
const part = <Schema extends DescMessage>(schema: Schema, fields: MessageInitShape<Schema>): Piece =>
  pieceOf(toBinary(schema, create(schema, fields)));

function checkOperators(graph: Graph): void {
  const ours = graph.nodes.filter(({ op }) => isOwn(op));
  if (ours.length === 0) return;
  const rest = ours.length > maxShown ? ` and ${ours.length - maxShown} more` : "";
  throw new FrostbitError(
    "UNSUPPORTED_OP",
    `${ours.slice(0, maxShown).map(describeNode).join(", ")}${rest} has no form in ONNX. Fold the quantizers and lower the graph before it is written.`,
  );
}

function checkSize(graph: Graph, externalData: ExternalTarget | undefined): void {
  let sizeBytes = 0;
  for (const { dtype, shape } of graph.constants.values()) sizeBytes += packedBytes(dtype, sizeOf(shape));
  if (externalData || sizeBytes <= maxInlineBytes) return;
  throw new FrostbitError(
    "BAD_OPTION",
    `the model's initializers take ${sizeBytes} bytes; one ONNX file holds ${maxInlineBytes}. frostbit quantize takes a model of this size with its weights in float16, which halves them; a program that calls writeOnnx can write them to a file beside it: externalData.`,
  );
}

/** `com.microsoft::FusedMatMul` → its domain and type. */
function splitName(op: string): { readonly domain: string; readonly opType: string } {
  const at = op.indexOf("::");
  return at < 0 ? { domain: "", opType: op } : { domain: op.slice(0, at), opType: op.slice(at + 2) };
}

const opsetImports = (graph: Graph, opset: number) =>
  [...new Set(["", ...graph.nodes.map(({ op }) => splitName(op).domain)])].map((domain) =>
    create(OperatorSetIdProtoSchema, { domain, version: domain === "" ? BigInt(opset) : 1n }),
  );

/** Names for outputs that nobody reads and that their operator must have. */
function withRequiredOutputs(graph: Graph, opset: number): Graph {
  const unique = uniqueNamesIn(graph);
  const named = (node: Node): Node => {
    const required = Array.from({ length: requiredOutputs(node, opset) }, (_, i) => node.outputs[i] ?? "");
    if (required.every(Boolean)) return node;
    const names = required.map((name, i) => name || unique(`${node.name}/output_${i}`));
    return { ...node, outputs: [...names, ...node.outputs.slice(names.length)] };
  };
  return { ...graph, nodes: graph.nodes.map(named) };
}

const encodeGraph = (graph: Graph, encode: EncodeTensor): readonly Piece[] => [
  part(GraphProtoSchema, { name: graph.name || "graph", node: graph.nodes.map(encodeNode) }),
  ...[...graph.constants].flatMap(([name, value]) => fieldOf(fieldNumbers.graphInitializer, encode(name, value))),
  part(GraphProtoSchema, {
    input: graph.inputs.map((name) => encodeValue(graph, name)),
    output: graph.outputs.map((name) => encodeValue(graph, name)),
  }),
];

function encodeNode(node: Node): NodeProto {
  return create(NodeProtoSchema, {
    ...splitName(node.op),
    name: node.name,
    input: [...node.inputs],
    output: [...node.outputs],
    attribute: Object.entries(node.attributes).map(([name, value]) => encodeAttribute(name, value)),
  });
}

function encodeValue(graph: Graph, name: string): ValueInfoProto {
  const type = graph.values.get(name);
  assert(type, `value "${name}" has no type`);
  const value = create(TypeProto_TensorSchema, {
    elemType: dtypeCode(type.dtype),
    shape: create(TensorShapeProtoSchema, { dim: type.shape.map(encodeDim) }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}

const encodeDim = (dim: Dim) =>
  create(TensorShapeProto_DimensionSchema, {
    value: typeof dim === "number" ? { case: "dimValue", value: BigInt(dim) } : { case: "dimParam", value: dim },
  });
