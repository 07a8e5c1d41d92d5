// What graphs of one structure have in common: the same values under the same names, and their numbers left open.
import type { Engine } from "../engines/engine.ts";
import type { Graph, Node, ValueType } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { hidden } from "../ops/masks.ts";
import { isQuantizer } from "../quantizers/quantizer.ts";

export interface SharedForm {
  /** The same for all graphs of the structure. */
  readonly key: string;
  /** With numbers that differ as variables. */
  readonly graph: Graph;
  /** By name in the graph given, the name in `graph`; `own`: the other way round. */
  readonly names: ReadonlyMap<string, string>;
  readonly own: ReadonlyMap<string, string>;
  /** By name in `graph`: the graph's own variables, and constants that are variables there. */
  readonly variables: ReadonlyMap<string, string>;
  readonly constants: readonly (readonly [string, Tensor])[];
}

export function sharedForm(given: Graph, engine: Engine): SharedForm {
  const graph = withoutUnread(given);
  const open = openConstants(graph, engine);
  const names = namesOf(graph, open);
  const nameOf = (value: string): string => names.get(value) ?? value;
  const closed = [...graph.constants].filter(([name]) => !open.has(name));
  const shared: Graph = {
    name: graph.name,
    inputs: graph.inputs.map(nameOf),
    outputs: graph.outputs.map(nameOf),
    nodes: graph.nodes.map((node, i) => ({
      ...node,
      name: `node${i}`,
      inputs: node.inputs.map(nameOf),
      outputs: node.outputs.map(nameOf),
    })),
    values: new Map([...names].flatMap(([name, other]) => typed(other, graph.values.get(name)))),
    constants: new Map(closed.map(([name, value]) => [nameOf(name), value])),
    variables: [...graph.variables, ...open.keys()].map(nameOf),
    updates: new Map([...graph.updates].map(([variable, value]) => [nameOf(variable), nameOf(value)])),
  };
  return {
    key: keyOf(shared),
    graph: shared,
    names,
    own: new Map([...names].map(([name, other]) => [other, name])),
    variables: new Map(graph.variables.map((name) => [nameOf(name), name])),
    constants: [...open].map(([name, value]) => [nameOf(name), value]),
  };
}

const typed = (name: string, type: ValueType | undefined): readonly (readonly [string, ValueType])[] =>
  type ? [[name, type]] : [];

/** Without constants that nothing reads, in the order in which they are read. */
function withoutUnread(graph: Graph): Graph {
  const read = new Set([...graph.nodes.flatMap(({ inputs }) => inputs), ...graph.outputs, ...graph.updates.values()]);
  const constants = [...read].flatMap((name) => {
    const value = graph.constants.get(name);
    return value ? [[name, value] as const] : [];
  });
  return { ...graph, constants: new Map(constants) };
}

/** What is added to scores, [queries, keys]: the same in all units, and better known to engines, which skip what it hides. */
const isMask = remembered(
  (value: Tensor) =>
    /^float(32|64)$/.test(value.dtype) &&
    sizeOf(value.shape) >= masksFrom &&
    numbersOf(value).every((number) => number === 0 || number <= hidden),
);

const masksFrom = 2 ** 16;

/** Computed once for each tensor. */
function remembered<T>(compute: (value: Tensor) => T): (value: Tensor) => T {
  const known = new WeakMap<Tensor, { readonly result: T }>();
  return (value) => {
    const found = known.get(value) ?? { result: compute(value) };
    known.set(value, found);
    return found.result;
  };
}

/**
 * Arrays of floats but masks, what quantizers scale and shift by, and what the new values of variables are bounded by, where the
 * engine runs what reads them as variables too.
 */
function openConstants(graph: Graph, engine: Engine): ReadonlyMap<string, Tensor> {
  const next = new Set(graph.updates.values());
  const single = new Set([
    ...graph.nodes.filter(isQuantizer).flatMap(({ inputs }) => inputs.slice(0, 3)),
    ...graph.nodes.filter(({ outputs: [output] }) => next.has(output)).flatMap(({ inputs }) => inputs),
  ]);
  const added = new Set(graph.nodes.flatMap(({ op, inputs }) => (op === "Add" ? inputs : [])));
  const isOpen = (name: string, value: Tensor): boolean =>
    /^float(32|64)$/.test(value.dtype) &&
    (sizeOf(value.shape) > 1 || single.has(name)) &&
    !graph.outputs.includes(name) &&
    !(added.has(name) && isMask(value));
  const candidates = new Map([...graph.constants].filter(([name, value]) => isOpen(name, value)));
  const opened: Graph = {
    ...graph,
    constants: new Map([...graph.constants].filter(([name]) => !candidates.has(name))),
    variables: [...graph.variables, ...candidates.keys()],
  };
  const needsKnown = (node: Node): boolean => !engine.supports(node, opened);
  const known = new Set(graph.nodes.filter(needsKnown).flatMap(({ inputs }) => inputs));
  return new Map([...candidates].filter(([name]) => !known.has(name)));
}

/** By where they are in the graph. */
function namesOf(
  { inputs, variables, constants, nodes }: Graph,
  open: ReadonlyMap<string, Tensor>,
): Map<string, string> {
  const closed = [...constants.keys()].filter((name) => !open.has(name));
  const made = nodes.flatMap(({ outputs }) => outputs).filter((output) => output !== "");
  const all = [...inputs, ...variables, ...open.keys(), ...closed, ...made];
  return new Map(all.map((name, i) => [name, `value${i}`]));
}

const isTensor = (value: unknown): value is Tensor =>
  typeof value === "object" && value !== null && "dtype" in value && "data" in value;

/** Of tensors with some elements all of them, of large ones which of those alive it is. */
let count = 0;
const place = remembered(() => count++);

function keyOf({ values, constants, updates, ...rest }: Graph): string {
  const contents = (value: Tensor) => {
    const { dtype, shape, data } = value;
    if (isMask(value)) return { dtype, shape, place: place(value) };
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { dtype, shape, bytes: bytes.join() };
  };
  const parts = { ...rest, name: "", values: [...values], constants: [...constants], updates: [...updates] };
  return JSON.stringify(parts, (_, value) => (isTensor(value) ? contents(value) : value));
}
