// If nodes whose condition the file states, and Loop nodes of which it states how often they run: the branch that is taken stands in
// their place, or the body as often as it runs.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
} from "onnx-buf";
import { type MakeName, uniqueNames } from "../ir/unique-names.ts";

/** Deeper ones are refused as others are. */
const mostRounds = 16;

/** Loops that come to more nodes, all of the file together, are refused as others are. */
const mostNodes = 20_000;

/** The graph without such nodes, also where a branch or a body holds more of them. */
export function inlineControlFlow(graph: GraphProto, opset: number): GraphProto {
  let result = graph;
  const most = graph.node.length + mostNodes;
  for (let round = 0; round < mostRounds && result.node.some(isControlFlow); round++) {
    const inlined = inlinedOnce(result, opset, most);
    if (inlined === result) return result;
    result = inlined;
  }
  return result;
}

const isOnnx = (domain: string): boolean => domain === "" || domain === "ai.onnx";
const isIf = ({ opType, domain }: NodeProto): boolean => opType === "If" && isOnnx(domain);
const isLoop = ({ opType, domain }: NodeProto): boolean => opType === "Loop" && isOnnx(domain);
const isControlFlow = (node: NodeProto): boolean => isIf(node) || isLoop(node);

/** What stands in the place of a node. */
interface InPlace {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
}

/** What the file states of values that are one number or one bool, by their names. */
interface Stated {
  readonly conditions: ReadonlyMap<string, boolean>;
  readonly counts: ReadonlyMap<string, number>;
}

function inlinedOnce(graph: GraphProto, opset: number, most: number): GraphProto {
  const stated = { conditions: conditionsOf(graph), counts: countsOf(graph) };
  const unique = uniqueNames(namesIn(graph));
  const initializers: TensorProto[] = [];
  let isChanged = false;
  let room = most - graph.node.length;
  const nodes = graph.node.flatMap((node): readonly NodeProto[] => {
    const found = isIf(node)
      ? branchTaken(node, stated, unique)
      : isLoop(node)
        ? unrolled(node, stated, { unique, opset, room })
        : undefined;
    if (!found) return [node];
    isChanged = true;
    room -= found.nodes.length;
    for (const tensor of found.initializers) initializers.push(tensor);
    return found.nodes;
  });
  return isChanged ? changed(graph, { node: nodes, initializer: [...graph.initializer, ...initializers] }) : graph;
}

function branchTaken(node: NodeProto, { conditions }: Stated, unique: MakeName): InPlace | undefined {
  const condition = conditions.get(node.input[0]);
  const branch = graphOf(node, condition === true ? "then_branch" : "else_branch");
  if (condition === undefined || !branch || branch.output.length !== node.output.length) return undefined;
  const { names, initializers } = initializersOf(branch, unique);
  const { nodes, outputs } = bodyInPlace(branch, node.name, names, unique);
  return { nodes: [...nodes, ...renamedTo(outputs, node.output, node.name, unique)], initializers };
}

const graphOf = ({ attribute }: NodeProto, wanted: string): GraphProto | undefined =>
  attribute.find(({ name }) => name === wanted)?.g;

interface Unrolling {
  readonly unique: MakeName;
  readonly opset: number;
  /** How many nodes it may come to. */
  readonly room: number;
}

/** `undefined` where the file does not state how often it runs, or that is too often. */
function unrolled(node: NodeProto, stated: Stated, { unique, opset, room }: Unrolling): InPlace | undefined {
  const [count = "", condition = "", ...initial] = node.input;
  const body = graphOf(node, "body");
  const begins = condition === "" ? true : stated.conditions.get(condition);
  const stops = body && begins !== undefined ? stopsAfterFirst(body, stated.conditions) : undefined;
  const given = stated.counts.get(count);
  if (!body || begins === undefined || stops === undefined || (given === undefined && begins && !stops))
    return undefined;
  const most = stops ? Math.min(1, given ?? 1) : (given ?? 0);
  const trips = begins ? Math.max(0, most) : 0;
  const scans = body.output.length - 1 - initial.length;
  if (trips * Math.max(1, body.node.length + scans) > room || scans < 0 || (trips === 0 && scans > 0)) return undefined;
  const nodes: NodeProto[] = [];
  const own = initializersOf(body, unique);
  const initializers: TensorProto[] = [...own.initializers];
  const add = (hint: string, fields: MessageInitShape<typeof TensorProtoSchema>): string => {
    const name = unique(`${node.name}:${hint}`);
    initializers.push(create(TensorProtoSchema, { ...fields, name }));
    return name;
  };
  const isTrue = add("condition", { dataType: TensorProto_DataType.BOOL, int32Data: [1] });
  const scanned: string[][] = Array.from({ length: scans }, () => []);
  let carried: readonly string[] = initial;
  for (let trip = 0; trip < trips; trip++) {
    const index = add("trip", { dataType: TensorProto_DataType.INT64, int64Data: [BigInt(trip)] });
    const values = [index, isTrue, ...carried];
    const bound = new Map([...body.input.map(({ name }, i) => [name, values[i]] as const), ...own.names]);
    const placed = bodyInPlace(body, node.name, bound, unique);
    nodes.push(...placed.nodes);
    carried = placed.outputs.slice(1, 1 + initial.length);
    for (const [i, list] of scanned.entries()) list.push(placed.outputs[1 + initial.length + i]);
  }
  const axes =
    opset < 13 ? undefined : add("axes", { dataType: TensorProto_DataType.INT64, dims: [1n], int64Data: [0n] });
  const stacked = scanned.map((list) => stack(list, { place: node.name, axes, unique, nodes }));
  nodes.push(...renamedTo([...carried, ...stacked], node.output, node.name, unique));
  return { nodes, initializers };
}

/** Whether a body that begins says that it does not go on; `undefined` where that is computed. */
function stopsAfterFirst(body: GraphProto, outside: ReadonlyMap<string, boolean>): boolean | undefined {
  const own = new Set(body.input.map(({ name }) => name));
  const seen = new Map([...outside].filter(([name]) => !own.has(name)));
  const known = conditionsOf(body, seen.set(body.input[1]?.name ?? "", true));
  const goesOn = known.get(body.output[0]?.name ?? "");
  return goesOn === undefined ? undefined : !goesOn;
}

/** What each run gives, along a new first axis. */
function stack(
  values: readonly string[],
  {
    place,
    axes,
    unique,
    nodes,
  }: {
    readonly place: string;
    readonly axes: string | undefined;
    readonly unique: MakeName;
    readonly nodes: NodeProto[];
  },
): string {
  const zero = { name: "axis", type: AttributeProto_AttributeType.INT, i: 0n };
  const first = { name: "axes", type: AttributeProto_AttributeType.INTS, ints: [0n] };
  const add = (
    opType: string,
    input: readonly string[],
    attributes: readonly MessageInitShape<typeof AttributeProtoSchema>[],
  ): string => {
    const name = unique(`${place}:${opType}`);
    const attribute = attributes.map((fields) => create(AttributeProtoSchema, fields));
    nodes.push(create(NodeProtoSchema, { opType, name, input: [...input], output: [name], attribute }));
    return name;
  };
  const rows = values.map((value) =>
    axes === undefined ? add("Unsqueeze", [value], [first]) : add("Unsqueeze", [value, axes], []),
  );
  return add("Concat", rows, [zero]);
}

/** Values that are one bool, by their names. */
const conditionsOf = (graph: GraphProto, outside?: ReadonlyMap<string, boolean>): ReadonlyMap<string, boolean> =>
  statedValues(graph, oneBool, { Identity: (value) => value, Not: (value) => !value }, outside);

/** Values that are one whole number, by their names. */
const countsOf = (graph: GraphProto): ReadonlyMap<string, number> =>
  statedValues(graph, oneCount, { Identity: (value) => value });

/** `through`: what operators make of such a value; `outside`: those that the graph sees. */
function statedValues<T>(
  graph: GraphProto,
  of: (tensor: TensorProto) => T | undefined,
  through: Readonly<Record<string, (value: T) => T>>,
  outside: ReadonlyMap<string, T> = new Map(),
): ReadonlyMap<string, T> {
  const known = new Map(outside);
  const add = (name: string, value: T | undefined): void => {
    if (value !== undefined) known.set(name, value);
  };
  for (const tensor of graph.initializer) add(tensor.name, of(tensor));
  for (const { opType, domain, input, output, attribute } of graph.node) {
    if (!isOnnx(domain)) continue;
    const constant = opType === "Constant" ? tensorIn(attribute) : undefined;
    if (constant) add(output[0], of(constant));
    const given = known.get(input[0] ?? "");
    if (given !== undefined && Object.hasOwn(through, opType)) known.set(output[0], through[opType](given));
  }
  return known;
}

/** What a Constant with these attributes is. */
function tensorIn(attributes: readonly AttributeProto[]): TensorProto | undefined {
  const number = attributes.find(({ name }) => name === "value_int");
  if (number) return create(TensorProtoSchema, { dataType: TensorProto_DataType.INT64, int64Data: [number.i] });
  return attributes.find(({ name }) => name === "value")?.t;
}

function oneCount({ dataType, dims, rawData, int64Data }: TensorProto): number | undefined {
  if (dataType !== TensorProto_DataType.INT64 || dims.some((size) => size !== 1n)) return undefined;
  if (rawData && rawData.length === 8)
    return Number(new DataView(rawData.buffer, rawData.byteOffset, 8).getBigInt64(0, true));
  return int64Data.length === 1 ? Number(int64Data[0]) : undefined;
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

/** The constants of a graph within under new names, which all runs of a body share. */
function initializersOf(
  { initializer }: GraphProto,
  unique: MakeName,
): Pick<InPlace, "initializers"> & { readonly names: ReadonlyMap<string, string> } {
  const names = new Map(initializer.map(({ name }) => [name, unique(name)]));
  return { names, initializers: initializer.map((tensor) => changed(tensor, { name: names.get(tensor.name) ?? "" })) };
}

/** What a graph within computes gets new names; `bound`: what its inputs and constants are. */
function bodyInPlace(
  body: GraphProto,
  place: string,
  bound: ReadonlyMap<string, string>,
  unique: MakeName,
): Pick<InPlace, "nodes"> & { readonly outputs: readonly string[] } {
  const own = body.node.flatMap(({ output }) => output);
  const renamed = new Map([
    ...bound,
    ...own.filter((name) => name !== "").map((name) => [name, unique(name)] as const),
  ]);
  const nodes = body.node.map((node) => withNames(node, renamed, unique(node.name || place)));
  return { nodes, outputs: body.output.map(({ name }) => renamed.get(name) ?? name) };
}

/** Values under the names that a node gives them. */
const renamedTo = (
  values: readonly string[],
  outputs: readonly string[],
  place: string,
  unique: MakeName,
): readonly NodeProto[] =>
  outputs.flatMap((output, i) =>
    output === ""
      ? []
      : [
          create(NodeProtoSchema, {
            opType: "Identity",
            name: unique(`${place}:${i}`),
            input: [values[i]],
            output: [output],
          }),
        ],
  );

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
