// If nodes whose condition the file states: the branch that is taken stands in their place.
import { create } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  type GraphProto,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType,
} from "onnx-buf";
import { uniqueNames } from "../ir/unique-names.ts";

/** Deeper ones are refused as others are. */
const mostRounds = 16;

/** The graph without such nodes, also where a branch holds more of them. */
export function inlineBranches(graph: GraphProto): GraphProto {
  let result = graph;
  for (let round = 0; round < mostRounds && result.node.some(isIf); round++) {
    const inlined = inlinedOnce(result);
    if (inlined === result) return result;
    result = inlined;
  }
  return result;
}

const isOnnx = (domain: string): boolean => domain === "" || domain === "ai.onnx";
const isIf = ({ opType, domain }: NodeProto): boolean => opType === "If" && isOnnx(domain);

function inlinedOnce(graph: GraphProto): GraphProto {
  const conditions = conditionsOf(graph);
  const unique = uniqueNames(namesIn(graph));
  const initializers: TensorProto[] = [];
  let isChanged = false;
  const nodes = graph.node.flatMap((node): readonly NodeProto[] => {
    const condition = isIf(node) ? conditions.get(node.input[0]) : undefined;
    const wanted = condition === true ? "then_branch" : "else_branch";
    const branch = node.attribute.find(({ name }) => name === wanted)?.g;
    if (condition === undefined || !branch || branch.output.length !== node.output.length) return [node];
    isChanged = true;
    const taken = branchInPlace(branch, node, unique);
    initializers.push(...taken.initializers);
    return taken.nodes;
  });
  return isChanged ? changed(graph, { node: nodes, initializer: [...graph.initializer, ...initializers] }) : graph;
}

/** Values that are one bool, by their names. */
function conditionsOf(graph: GraphProto): ReadonlyMap<string, boolean> {
  const known = new Map<string, boolean>();
  const add = (name: string, tensor: TensorProto | undefined): void => {
    const value = tensor && oneBool(tensor);
    if (value !== undefined) known.set(name, value);
  };
  for (const tensor of graph.initializer) add(tensor.name, tensor);
  for (const { opType, domain, input, output, attribute } of graph.node) {
    if (!isOnnx(domain)) continue;
    if (opType === "Constant") add(output[0], attribute.find(({ name }) => name === "value")?.t);
    const given = known.get(input[0] ?? "");
    if (given === undefined) continue;
    if (opType === "Identity") known.set(output[0], given);
    if (opType === "Not") known.set(output[0], !given);
  }
  return known;
}

function oneBool({ dataType, dims, rawData, int32Data }: TensorProto): boolean | undefined {
  if (dataType !== TensorProto_DataType.BOOL || dims.some((size) => size !== 1n)) return undefined;
  const [value] = rawData && rawData.length > 0 ? rawData : int32Data;
  return value === undefined ? undefined : value !== 0;
}

function* namesIn({ input, initializer, node, output }: GraphProto): Generator<string> {
  for (const { name } of [...input, ...initializer, ...output]) yield name;
  for (const { name, input: reads, output: gives, attribute } of node) {
    yield name;
    yield* reads;
    yield* gives;
    for (const { g } of attribute) if (g) yield* namesIn(g);
  }
}

/** What the branch has of its own gets new names; its outputs are those of the node. */
function branchInPlace(
  branch: GraphProto,
  { output: outputs, name: place }: NodeProto,
  unique: (hint: string) => string,
): { readonly nodes: readonly NodeProto[]; readonly initializers: readonly TensorProto[] } {
  const own = [...branch.initializer.map(({ name }) => name), ...branch.node.flatMap(({ output }) => output)];
  const renamed = new Map(own.filter((name) => name !== "").map((name) => [name, unique(name)]));
  const nodes = branch.node.map((node) => withNames(node, renamed, unique(node.name || place)));
  const ends = branch.output.map(({ name }, i) =>
    create(NodeProtoSchema, {
      opType: "Identity",
      name: unique(`${place}:${i}`),
      input: [renamed.get(name) ?? name],
      output: [outputs[i]],
    }),
  );
  const initializers = branch.initializer.map((tensor) =>
    changed(tensor, { name: renamed.get(tensor.name) ?? tensor.name }),
  );
  return { nodes: [...nodes, ...ends.filter(({ output }) => output[0] !== "")], initializers };
}

const withNames = (node: NodeProto, renamed: ReadonlyMap<string, string>, name: string): NodeProto =>
  changed(node, {
    name,
    input: node.input.map((value) => renamed.get(value) ?? value),
    output: node.output.map((value) => renamed.get(value) ?? value),
    attribute: node.attribute.map((attribute) => withNamesInside(attribute, renamed)),
  });

/** A copy with other fields: those that are not set are of the message's kind, which a spread would lose. */
const changed = <T extends object>(message: T, fields: Partial<T>): T =>
  Object.assign(Object.create(Object.getPrototypeOf(message)), message, fields);

/** Graphs within see the names around them, but for those that they have themselves. */
function withNamesInside(attribute: AttributeProto, renamed: ReadonlyMap<string, string>): AttributeProto {
  const { g } = attribute;
  if (!g) return attribute;
  const own = new Set([...g.input, ...g.initializer].map(({ name }) => name));
  for (const { output } of g.node) for (const value of output) own.add(value);
  const seen = new Map([...renamed].filter(([name]) => !own.has(name)));
  const node = g.node.map((inner) => withNames(inner, seen, inner.name));
  const output = g.output.map((value) => changed(value, { name: seen.get(value.name) ?? value.name }));
  return changed(attribute, { g: changed(g, { node, output }) });
}
