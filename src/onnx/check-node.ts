// Whether a node of a file is what its operator is in the file's opset: what ONNX Runtime checks before it loads a model.
import { type AttributeProto, type NodeProto, AttributeProto_AttributeType as Type } from "onnx-buf";
import { FrostbitError } from "../ir/errors.ts";
import type { Attribute } from "../ir/graph.ts";
import { onnxSchemas } from "./onnx-schemas.ts";

interface Schema {
  readonly opset: number;
  readonly isGone: boolean;
  /** A mark each: 1, ? or +. */
  readonly inputs: string;
  readonly outputs: string;
  readonly attributes: ReadonlyMap<string, AttributeSchema>;
}

interface AttributeType {
  readonly type: Type;
  readonly words: string;
}

const typeOfLetter: Readonly<Record<string, AttributeType>> = {
  f: { type: Type.FLOAT, words: "a float" },
  i: { type: Type.INT, words: "an integer" },
  s: { type: Type.STRING, words: "a string" },
  t: { type: Type.TENSOR, words: "a tensor" },
  F: { type: Type.FLOATS, words: "a list of floats" },
  I: { type: Type.INTS, words: "a list of integers" },
  S: { type: Type.STRINGS, words: "a list of strings" },
};

interface AttributeSchema {
  readonly type: AttributeType | undefined;
  readonly isRequired: boolean;
}

/** `axis:i!` → axis, an integer that must be there. */
function parseAttribute(text: string): readonly [string, AttributeSchema] {
  const [name, kind] = text.split(":");
  return [name, { type: typeOfLetter[kind[0]], isRequired: kind.endsWith("!") }];
}

function parseSchema(opset: string, [marks = "", ...attributes]: readonly string[]): Schema {
  const [inputs, outputs = ""] = marks.split(">").map((list) => list.replace("-", ""));
  return {
    opset: Number(opset),
    isGone: marks === "gone",
    inputs,
    outputs,
    attributes: new Map(attributes.map(parseAttribute)),
  };
}

/** By operator, the oldest first. */
const schemas = new Map<string, Schema[]>();
for (const line of onnxSchemas.trim().split("\n")) {
  const [op, opset, ...rest] = line.split(" ");
  const list = schemas.get(op) ?? [];
  list.push(parseSchema(opset, rest));
  schemas.set(op, list);
}

/** ONNX Runtime has it in every opset. */
const ofEveryOpset: ReadonlySet<string> = new Set(["LayerNormalization"]);

function schemaOf(op: string, opset: number, where: string): Schema | undefined {
  const versions = schemas.get(op);
  if (!versions) return undefined;
  const [first] = versions;
  const schema = versions.findLast((version) => version.opset <= opset);
  if (!schema && ofEveryOpset.has(op)) return first;
  if (!schema)
    throw bad(
      `${where}: the model is of opset ${opset}, and ${op} came with opset ${first.opset}. Export the model with opset_version=${first.opset} or higher.`,
    );
  if (schema.isGone)
    throw bad(
      `${where}: the model is of opset ${opset}, and ${op} is gone since opset ${schema.opset}. Export the model again.`,
    );
  return schema;
}

export interface CheckContext {
  readonly opset: number;
  /** `Conv (node "/a")`, for messages. */
  readonly where: string;
  /** As they are decoded, for messages. */
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** Throws BAD_MODEL. Of operators that no schema is known of, nothing is checked. */
export function checkNode(node: NodeProto, context: CheckContext): void {
  const { where } = context;
  const schema = schemaOf(node.opType, context.opset, where);
  if (!schema) return;
  checkNames(node.input, schema.inputs, where, "input");
  checkNames(node.output, schema.outputs, where, "output");
  for (const attribute of node.attribute) checkAttribute(attribute, schema, node.opType, context);
  for (const [name, { isRequired }] of schema.attributes)
    if (isRequired && !node.attribute.some((attribute) => attribute.name === name))
      throw bad(`${where}: attribute "${name}" is missing; it is required.`);
}

function checkNames(names: readonly string[], marks: string, where: string, role: "input" | "output"): void {
  const isEndless = marks.endsWith("+");
  if (names.length > marks.length && !isEndless)
    throw bad(
      `${where}: it has ${names.length} ${role}s; expected ${marks.length}${marks.includes("?") ? " at most" : ""}.`,
    );
  const missing = [...marks].findIndex((mark, i) => mark !== "?" && !names[i]);
  if (missing >= 0) throw bad(`${where}: ${role} ${missing} is missing; it is required.`);
}

function checkAttribute(
  { name, type }: AttributeProto,
  schema: Schema,
  op: string,
  { opset, where, attributes }: CheckContext,
): void {
  // Names that begin so are the exporter's own.
  if (name.startsWith("__")) return;
  const expected = schema.attributes.get(name);
  if (!expected)
    throw bad(
      `${where} has the attribute "${name}", which ${op} of opset ${opset} does not have. ONNX Runtime refuses the file too: export it again.`,
    );
  if (expected.type && type !== expected.type.type)
    throw bad(`${where}: attribute "${name}" is ${JSON.stringify(attributes[name])}; expected ${expected.type.words}.`);
}

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);
