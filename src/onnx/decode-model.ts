// ModelProto → graph as the file has it: nothing upgraded, sorted or inferred yet.
import { fromBinary } from "@bufbuild/protobuf";
import { type GraphProto, type ModelProto, ModelProtoSchema, type NodeProto, type ValueInfoProto } from "onnx-buf";
import type { DType } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Attribute, Dim, Graph, Node, Origin, ValueType } from "../ir/graph.ts";
import { type Tensor, tensorOf } from "../ir/tensor.ts";
import type { ByteSource } from "../ir/tensor-source.ts";
import { uniqueNames } from "../ir/unique-names.ts";
import { checkSchema } from "./check-schema.ts";
import { codeName, dtypeOfCode } from "./data-types.ts";
import { decodeAttribute } from "./decode-attribute.ts";
import { decodeTensor } from "./decode-tensor.ts";
import type { ExternalSource } from "./external-data.ts";
import { type FileOutline, outlineFile } from "./file-outline.ts";
import { inlineControlFlow } from "./inline-control-flow.ts";
import { describeOtherFormat, headBytes } from "./model-formats.ts";
import { findUnsupportedNodes, isRead } from "./unsupported.ts";

export const oldestOpset = 7;
export const newestOpset = 25;

export interface DecodedModel {
  /** Nodes in the file's order and opset; only inputs and constants have types. */
  readonly graph: Graph;
  readonly origin: Origin;
  /** What the file says about its outputs, where it says something. */
  readonly declared: ReadonlyMap<string, DeclaredType>;
}

export type DeclaredType = Pick<ValueType, "dtype"> & Partial<Pick<ValueType, "shape">>;

type Report = (what: string) => void;

interface FileContext {
  readonly opset: number;
  readonly external: ExternalSource | undefined;
  readonly rawData: FileOutline["rawData"];
}

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

/** Of a source, the data of large tensors stays there until it is used; of bytes, it is copied. */
export function decodeModel(
  file: Uint8Array | ByteSource,
  name: string,
  external: ExternalSource | undefined,
): DecodedModel {
  const { bytes, rawData } = file instanceof Uint8Array ? { bytes: file, rawData: new Map() } : outlineOf(file, name);
  const model = parse(bytes, name, file instanceof Uint8Array ? file.length : file.sizeBytes);
  if (!model.graph)
    throw bad(
      describeOtherFormat(bytes, name) ??
        "the file holds no graph. It is not an ONNX model, or it was cut off while being written.",
    );
  const origin = decodeOrigin(model);
  const graph = inlineControlFlow(model.graph, origin.opset);
  const unsupported: string[] = findUnsupportedNodes(graph);
  const report: Report = (what) => unsupported.push(what);
  if (model.functions.length > 0)
    report(`local functions: ${model.functions.map(({ name }) => `"${name}"`).join(", ")}`);
  const decoded = decodeGraph(graph, { external, rawData, opset: origin.opset }, report);
  if (unsupported.length > 0) throw refusal(unsupported);
  return { ...decoded, origin };
}

/** One message for everything that cannot be handled. */
function refusal(unsupported: readonly string[]): FrostbitError {
  const shown = unsupported.slice(0, 50);
  const rest = unsupported.length - shown.length;
  const lines = rest > 0 ? [...shown, `and ${rest} more`] : shown;
  return new FrostbitError("UNSUPPORTED_OP", [
    "the model has what cannot be handled:",
    ...lines.map((line) => `  ${line}`),
    "Export it without these.",
  ]);
}

/** A file that is not a protobuf is read whole and the decoder reports the error, unless the first bytes identify the format. */
function outlineOf(file: ByteSource, name: string): FileOutline {
  const outline = outlineFile(file);
  if (outline) return outline;
  const other = describeOtherFormat(file.read(0, Math.min(headBytes, file.sizeBytes)), name);
  if (other !== undefined) throw bad(other);
  return { bytes: file.read(0, file.sizeBytes), rawData: new Map() };
}

function parse(bytes: Uint8Array, name: string, sizeBytes: number): ModelProto {
  if (bytes.length === 0) throw bad("the file is empty.");
  try {
    return fromBinary(ModelProtoSchema, bytes, { readUnknownFields: false });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError(
      "BAD_MODEL",
      describeOtherFormat(bytes, name) ??
        `the file's ${sizeBytes} bytes cannot be read as an ONNX model (${reason}). It is not ONNX, or it is truncated or damaged.`,
      { cause },
    );
  }
}

function decodeOrigin(model: ModelProto): Origin {
  return {
    opset: decodeOpset(model),
    irVersion: Number(model.irVersion),
    producerName: model.producerName,
    producerVersion: model.producerVersion,
    domain: model.domain,
    modelVersion: model.modelVersion,
    docString: model.docString,
    metadata: new Map(model.metadataProps.map(({ key, value }) => [key, value])),
  };
}

function decodeOpset(model: ModelProto): number {
  const [onnxImport, ...others] = model.opsetImport.filter(({ domain }) => isOnnxDomain(domain));
  if (!onnxImport)
    throw bad("the model does not say which version (opset) of ONNX's operators it uses. Export it again.");
  const other = others.find(({ version }) => version !== onnxImport.version);
  if (other)
    throw bad(
      `the model says twice which version (opset) of ONNX's operators it uses: ${onnxImport.version} and ${other.version}. Export it again, or leave the one in opset_import that its nodes are of.`,
    );
  if (onnxImport.version < oldestOpset)
    throw bad(
      `the model uses opset ${onnxImport.version}; opsets ${oldestOpset} to ${newestOpset} can be read. Export it again with a newer opset, or convert it with onnx.version_converter.`,
    );
  if (onnxImport.version > newestOpset)
    throw bad(
      `the model uses opset ${onnxImport.version}; opsets ${oldestOpset} to ${newestOpset} can be read. Export it with opset_version=${newestOpset} or lower.`,
    );
  return Number(onnxImport.version);
}

const isOnnxDomain = (domain: string): boolean => domain === "" || domain === "ai.onnx";

/** `"Conv"`, or `"com.microsoft::FusedMatMul"` for another domain than ONNX's own. */
const operatorName = ({ domain, opType }: NodeProto): string =>
  isOnnxDomain(domain) ? opType : `${domain}::${opType}`;

function decodeGraph(proto: GraphProto, file: FileContext, report: Report): Pick<DecodedModel, "graph" | "declared"> {
  const constants = decodeInitializers(proto, file, report);
  const literals = new Set<string>();
  const nodes: Node[] = [];
  const nameNode = uniqueNames();
  for (const node of proto.node) {
    const name = nameNode(node.name || node.output.find((output) => output !== "") || node.opType);
    const attributes = decodeAttributes(node, name, file, report);
    const value = isConstant(node) ? constantValue(attributes, name) : undefined;
    if (value) {
      addConstant(constants, node.output[0] ?? "", value);
      literals.add(node.output[0]);
    } else
      nodes.push({
        name,
        op: operatorName(node),
        inputs: trimmed(node.input),
        outputs: trimmed(node.output),
        attributes,
      });
  }
  for (const input of proto.input) checkDefault(input, constants.get(input.name), report);
  const inputs = proto.input.filter(({ name }) => !constants.has(name) || literals.has(name));
  const values = new Map<string, ValueType>();
  for (const [name, { dtype, shape }] of constants) values.set(name, { dtype, shape });
  for (const input of inputs) {
    const type = decodeInputType(input, report);
    if (type) values.set(input.name, type);
  }
  const declared = new Map<string, DeclaredType>();
  for (const output of proto.output) {
    const type = decodeType(output, "output", report);
    if (type) declared.set(output.name, type);
  }
  const graph: Graph = {
    name: proto.name,
    inputs: inputs.map(({ name }) => name),
    outputs: proto.output.map(({ name }) => name),
    nodes,
    values,
    constants,
    literals,
    variables: [],
    updates: new Map(),
  };
  return { graph, declared };
}

/** Left-out inputs and outputs at the end say nothing. */
function trimmed(names: readonly string[]): string[] {
  let length = names.length;
  while (length > 0 && names[length - 1] === "") length--;
  return names.slice(0, length);
}

function decodeInitializers(
  proto: GraphProto,
  { external, rawData }: FileContext,
  report: Report,
): Map<string, Tensor> {
  const constants = new Map<string, Tensor>();
  for (const [index, initializer] of proto.initializer.entries()) {
    const context = { external, unsupported: report, raw: rawData.get(index) };
    const tensor = decodeTensor(initializer, `initializer "${initializer.name}"`, context);
    if (tensor) addConstant(constants, initializer.name, tensor);
  }
  for (const { values } of proto.sparseInitializer) report(`sparse initializer "${values?.name ?? ""}"`);
  return constants;
}

/** An input with an initializer is a constant here; what the file says of it must be true of both. */
function checkDefault(input: ValueInfoProto, constant: Tensor | undefined, report: Report): void {
  const { dtype, shape } = (constant && input.type && decodeType(input, "input", report)) || {};
  if (!constant || !dtype || !shape) return;
  const agrees =
    dtype === constant.dtype &&
    shape.length === constant.shape.length &&
    shape.every((dim, axis) => typeof dim === "string" || dim === constant.shape[axis]);
  if (!agrees)
    throw bad(
      `input "${input.name}" is ${dtype} [${shape.join(", ")}], and its initializer ${constant.dtype} [${constant.shape.join(", ")}].`,
    );
}

function addConstant(constants: Map<string, Tensor>, name: string, value: Tensor): void {
  if (name === "") throw bad("an initializer has no name.");
  if (constants.has(name)) throw bad(`the value "${name}" is given twice.`);
  constants.set(name, value);
}

const isConstant = (node: NodeProto): boolean => operatorName(node) === "Constant";

function decodeAttributes(
  node: NodeProto,
  name: string,
  { external, opset }: FileContext,
  report: Report,
): Record<string, Attribute> {
  const op = operatorName(node);
  const where = `${op} (node "${name}")`;
  if (isRead(op))
    checkSchema({ where, op, inputs: node.input, outputs: node.output, attributes: node.attribute }, opset);
  const attributes: Record<string, Attribute> = {};
  for (const proto of node.attribute) {
    if (Object.hasOwn(attributes, proto.name)) throw bad(`${where} has the attribute "${proto.name}" twice.`);
    const value = decodeAttribute(proto, { where, external, unsupported: report });
    if (value !== undefined) attributes[proto.name] = value;
  }
  return attributes;
}

/** Constant's six ways to say a value; `undefined` if none of them is there (an unsupported one was reported). */
function constantValue(attributes: Readonly<Record<string, Attribute>>, name: string): Tensor | undefined {
  const { value, value_float, value_floats, value_int, value_ints } = attributes;
  const given = Object.keys(attributes);
  if (given.length > 1)
    throw bad(`Constant (node "${name}"): it has the values ${given.join(" and ")}; expected one of them.`);
  if (typeof value === "object" && "dtype" in value) return value;
  if (typeof value_float === "number") return tensorOf("float32", [], [value_float]);
  if (typeof value_int === "number") return tensorOf("int64", [], [value_int]);
  if (Array.isArray(value_floats)) return tensorOf("float32", [value_floats.length], value_floats);
  if (Array.isArray(value_ints)) return tensorOf("int64", [value_ints.length], value_ints);
  return undefined;
}

function decodeInputType(info: ValueInfoProto, report: Report): ValueType | undefined {
  const type = decodeType(info, "input", report);
  if (!type) return undefined;
  const { dtype, shape } = type;
  if (!shape) throw bad(`input "${info.name}" has no shape. Export the model with shapes; sizes may be symbolic.`);
  return { dtype, shape };
}

function decodeType(info: ValueInfoProto, role: "input" | "output", report: Report): DeclaredType | undefined {
  const where = `${role} "${info.name}"`;
  const type = info.type?.value;
  if (type?.case === undefined) {
    if (role === "output") return undefined;
    throw bad(`${where} has no type.`);
  }
  if (type.case !== "tensorType") {
    report(`${where} is a ${type.case.replace("Type", "")}`);
    return undefined;
  }
  if (role === "output" && type.value.elemType === 0) return undefined;
  const dtype = decodeElementType(type.value.elemType, where, report);
  if (!dtype) return undefined;
  const dims = type.value.shape?.dim;
  if (!dims) return { dtype };
  return { dtype, shape: dims.map(({ value }, axis) => decodeDim(value.value, `${info.name}_dim_${axis}`, where)) };
}

function decodeElementType(code: number, where: string, report: Report): DType | undefined {
  const dtype = dtypeOfCode(code);
  if (dtype) return dtype;
  const known = codeName(code);
  if (!known) throw bad(`${where} has the element type ${code}, which ONNX does not have.`);
  report(`${where} has elements of type ${known}`);
  return undefined;
}

/** An unknown size gets a unique name. */
function decodeDim(dim: bigint | string | undefined, name: string, where: string): Dim {
  if (dim === undefined || dim === "") return name;
  if (typeof dim === "string") return dim;
  if (dim < 0n)
    throw bad(`${where} has the size ${dim} as "${name}"; sizes cannot be negative. Give free sizes a name instead.`);
  if (dim > 2n ** 31n) throw bad(`${where} has the size ${dim}: more than 2^31 elements.`);
  return Number(dim);
}
