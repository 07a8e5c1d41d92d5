// Whether the nodes of a file are what ONNX's schemas of its opset say: operators, numbers of inputs and outputs, attributes, types.
import { type AttributeProto, AttributeProto_AttributeType as AttributeType } from "onnx-buf";
import type { DType } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode, type Node, type ValueType } from "../ir/graph.ts";
import { isHalf } from "../ir/half.ts";
import { schemas, typeSets } from "./schemas.ts";
import { contribSchemas } from "./upgrade/contrib.ts";

interface InputSchema {
  /** Inputs of one such name have one element type; "" for those that are tied to none. */
  readonly tie: string;
  readonly types: readonly string[];
  readonly isOptional: boolean;
  readonly isRepeated: boolean;
}

interface Schema {
  /** Its first opset. */
  readonly since: number;
  readonly isDeprecated: boolean;
  readonly inputs: readonly InputSchema[];
  readonly outputs: { readonly min: number; readonly max: number };
  readonly attributes: ReadonlyMap<string, { readonly kind: string; readonly isRequired: boolean }>;
}

/** A node as the file has it: with the left-out inputs at its end, which count. */
export interface NodeInFile {
  /** `Conv (node "/a")`, for messages. */
  readonly where: string;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly AttributeProto[];
}

const bad = (message: string): FrostbitError => new FrostbitError("BAD_MODEL", message);

/** Attributes' kinds as `schemas` writes them. */
const kinds: ReadonlyMap<AttributeType, readonly [kind: string, words: string]> = new Map([
  [AttributeType.FLOAT, ["f", "a float"]],
  [AttributeType.INT, ["i", "an integer"]],
  [AttributeType.STRING, ["s", "a string"]],
  [AttributeType.TENSOR, ["t", "a tensor"]],
  [AttributeType.FLOATS, ["F", "a list of floats"]],
  [AttributeType.INTS, ["I", "a list of integers"]],
  [AttributeType.STRINGS, ["S", "a list of strings"]],
]);

const wordsOf = (kind: string): string => [...kinds.values()].find(([each]) => each === kind)?.[1] ?? "something else";

const parsed = new Map<string, readonly Schema[]>();

/** The versions of an operator, the oldest first. */
function versionsOf(op: string): readonly Schema[] {
  const known = parsed.get(op);
  if (known) return known;
  const lines = [schemas, contribSchemas].flatMap((list) => (Object.hasOwn(list, op) ? list[op] : []));
  const versions = lines.map(parseSchema);
  parsed.set(op, versions);
  return versions;
}

function parseSchema(line: string): Schema {
  const [since, inputs, outputs = "0", attributes = ""] = line.split("|");
  const isDeprecated = inputs === "deprecated";
  const [min, max = min] = outputs
    .split("-")
    .map((count) => (count === "*" ? Number.POSITIVE_INFINITY : Number(count)));
  const named = attributes.split(" ").flatMap((word) => {
    const [name, kind] = word.split(":");
    return name === "" ? [] : [[name.replace("!", ""), { kind, isRequired: name.endsWith("!") }] as const];
  });
  return {
    since: Number(since),
    isDeprecated,
    inputs: isDeprecated ? [] : inputs.split(" ").filter(Boolean).map(parseInput),
    outputs: { min, max },
    attributes: new Map(named),
  };
}

function parseInput(word: string): InputSchema {
  const [tie, set] = word.split(":");
  return {
    tie,
    types: typeSets[Number.parseInt(set, 10)].split(" "),
    isOptional: set.endsWith("?"),
    isRepeated: set.endsWith("*"),
  };
}

/** Runtimes had them before ONNX did, and run them in older opsets too. */
const runsInEveryOpset: ReadonlySet<string> = new Set(["LayerNormalization"]);

function schemaOf(op: string, opset: number, where: string): Schema {
  const versions = versionsOf(op);
  const schema =
    versions.findLast(({ since }) => since <= opset) ?? (runsInEveryOpset.has(op) ? versions[0] : undefined);
  if (!schema)
    throw bad(
      versions.length === 0
        ? `${where}: ONNX has no such operator.`
        : `${where}: ONNX has this operator from opset ${versions[0].since} on; the file is of opset ${opset}.`,
    );
  if (schema.isDeprecated)
    throw bad(`${where}: ONNX dropped this operator with opset ${schema.since}; the file is of opset ${opset}.`);
  return schema;
}

/** How many outputs a node of this opset must name, also where nobody reads them: all that it has where their number is open. */
export function requiredOutputs({ op, outputs }: Node, opset: number): number {
  const { min, max } = versionsOf(op).findLast(({ since }) => since <= opset)?.outputs ?? { min: 0, max: 0 };
  return max === Number.POSITIVE_INFINITY ? outputs.length : min;
}

/** By input, the element types that an operator takes in an opset; `undefined` for operators that are not known. */
export function inputTypesOf({ op, inputs }: Node, opset: number): readonly (readonly string[])[] | undefined {
  const versions = versionsOf(op);
  const schema =
    versions.findLast(({ since }) => since <= opset) ?? (runsInEveryOpset.has(op) ? versions[0] : undefined);
  return schema && inputs.map((_, i) => (schema.inputs[i] ?? schema.inputs.at(-1))?.types ?? []);
}

/** Throws BAD_MODEL where the operator is not one of the opset, or has other inputs, outputs or attributes there. */
export function checkSchema(node: NodeInFile, opset: number): void {
  const schema = schemaOf(node.op, opset, node.where);
  checkInputCount(node, schema.inputs);
  checkOutputCount(node, schema.outputs);
  checkAttributes(node, schema, opset);
}

function checkInputCount({ where, inputs }: NodeInFile, schema: readonly InputSchema[]): void {
  const missing = schema.findIndex(({ isOptional, isRepeated }, i) => !inputs[i] && !isOptional && !isRepeated);
  if (missing >= 0) throw bad(`${where}: input ${missing} is missing; it is required.`);
  if (schema.at(-1)?.isRepeated && inputs.includes("", schema.length))
    throw bad(`${where}: input ${inputs.indexOf("", schema.length)} is missing; it is required.`);
  if (inputs.length <= schema.length || schema.at(-1)?.isRepeated) return;
  const atMost = schema.at(-1)?.isOptional ? " at most" : "";
  throw bad(`${where}: it has ${inputs.length} inputs; expected ${schema.length}${atMost}.`);
}

function checkOutputCount({ where, outputs }: NodeInFile, { min, max }: Schema["outputs"]): void {
  if (outputs.length >= min && outputs.length <= max) return;
  const expected =
    outputs.length < min ? `${min}${max > min ? " or more" : ""}` : `${max}${max > min ? " at most" : ""}`;
  throw bad(`${where}: it has ${outputs.length} outputs; expected ${expected}.`);
}

/** Whether something is so; runtimes differ in what they make of other numbers. */
const flags: ReadonlySet<string> = new Set([
  ...["allowzero", "antialias", "ceil_mode", "count_include_pad", "detect_negative", "detect_positive"],
  ...["exclude_outside", "exclusive", "fmod", "interleaved", "is_causal", "keepdims", "largest"],
  ...["noop_with_empty_axes", "reverse", "saturate", "select_last_index", "sorted", "storage_order"],
  ...["training_mode", "transA", "transB", "upper"],
]);

/** Names of attributes that ONNX leaves to whoever made the file. */
const isPrivate = (name: string): boolean => name.startsWith("__");

function checkAttributes({ where, attributes }: NodeInFile, schema: Schema, opset: number): void {
  for (const { name, type, i } of attributes) {
    if (isPrivate(name)) continue;
    const expected = schema.attributes.get(name);
    if (!expected)
      throw bad(
        `${where}: it has the attribute "${name}"; in opset ${opset} expected ${[...schema.attributes.keys()].join(", ") || "none"}.`,
      );
    const [kind, words] = kinds.get(type) ?? [];
    if (kind !== undefined && kind !== expected.kind)
      throw bad(`${where}: attribute "${name}" is ${words}; expected ${wordsOf(expected.kind)}.`);
    if (flags.has(name) && i !== 0n && i !== 1n) throw bad(`${where}: attribute "${name}" is ${i}; expected 0 or 1.`);
  }
  for (const [name, { isRequired }] of schema.attributes)
    if (isRequired && !attributes.some((attribute) => attribute.name === name))
      throw bad(`${where}: attribute "${name}" is missing; it is required.`);
}

/** What is half precision in the file is float32 in the graph; bfloat16 comes in files of opsets that had float16 alone. */
const isIn = (types: readonly string[], dtype: DType): boolean =>
  types.includes(dtype) || ((dtype === "float32" || isHalf(dtype)) && types.some(isHalf));

/** Throws BAD_MODEL where an input has an element type that its operator does not take in the opset, or not with the others. */
export function checkTypes(node: Node, opset: number, typeOf: (value: string) => ValueType | undefined): void {
  const { inputs } = schemaOf(node.op, opset, describeNode(node));
  const tied = new Map<string, string>();
  for (const [i, value] of node.inputs.entries()) {
    const dtype = value === "" ? undefined : typeOf(value)?.dtype;
    const schema = inputs[i] ?? inputs.at(-1);
    if (!dtype || !schema) continue;
    if (!isIn(schema.types, dtype))
      throw bad(
        `${describeNode(node)}: input "${value}" is ${dtype}; expected ${schema.types.join(", ")} in opset ${opset}.`,
      );
    const other = schema.tie === "" ? value : (tied.get(schema.tie) ?? value);
    if (typeOf(other)?.dtype !== dtype)
      throw bad(
        `${describeNode(node)}: inputs "${other}" (${typeOf(other)?.dtype}) and "${value}" (${dtype}) differ in type; expected one type.`,
      );
    tied.set(schema.tie, other);
  }
}
