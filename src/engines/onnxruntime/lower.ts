// Lowers a graph of ours to one ONNX graph, operator by operator.
import { assert } from "../../ir/errors.ts";
import type { Graph, Node, ValueType } from "../../ir/graph.ts";
import { createEmitter, type Emitter } from "./emitter.ts";
import { type BlockLayout, canBlock, type LoweringContext, toBlocked, toPlain } from "./lowering.ts";
import { loweringOf } from "./lowerings/index.ts";

export interface LoweredGraph {
  /** ONNX operators only; those of other domains are named `domain::Operator`. */
  readonly graph: Graph;
  /** The ONNX output that holds an output of the original graph, or the next value of one of its variables. */
  readonly outputs: ReadonlyMap<string, string>;
}

export interface LowerOptions {
  /** Channels per block of ONNX Runtime's blocked convolutions on this machine; 0 if it has none. */
  readonly block: number;
}

type Layouts = Partial<Record<BlockLayout, string>>;

interface State {
  readonly graph: Graph;
  readonly emit: Emitter;
  readonly block: number;
  readonly layouts: Map<string, Layouts>;
  readonly shared: Map<string, unknown>;
  readonly byInputs: Map<string, string>;
}

export function lower(graph: Graph, { block }: LowerOptions): LoweredGraph {
  const kept = [...graph.inputs, ...graph.variables, ...graph.constants.keys()];
  const { emit, emitted } = createEmitter(kept);
  const state: State = { graph, emit, block, layouts: new Map(), shared: new Map(), byInputs: new Map() };
  for (const name of kept) state.layouts.set(name, { plain: name });
  for (const node of graph.nodes) {
    emitted.scope = node.name;
    loweringOf(node.op)(contextOf(state, node));
    state.byInputs.set(signature(node.op, node.inputs), node.outputs[0]);
  }
  emitted.scope = "output";
  const outputs = new Map<string, string>();
  const dequantized = new Set(emitted.nodes.flatMap(({ op, outputs }) => (op === "DequantizeLinear" ? outputs : [])));
  for (const name of [...graph.outputs, ...graph.updates.values()])
    outputs.set(name, outputOf(state, name, dequantized));
  const constants = new Map([...graph.constants, ...emitted.constants]);
  return { graph: finish(graph, emitted.nodes, constants, outputs), outputs };
}

const signature = (op: string, inputs: readonly string[]): string => JSON.stringify([op, ...inputs]);

function typeOf({ graph }: State, value: string): ValueType {
  const type = graph.values.get(value);
  assert(type, `value "${value}" has no type`);
  return type;
}

/** The ONNX value in the layout asked for; a conversion is made once. */
function valueIn(state: State, value: string, layout: BlockLayout): string {
  const layouts = state.layouts.get(value);
  assert(layouts, `value "${value}" is read before it is made`);
  const existing = layouts[layout];
  if (existing !== undefined) return existing;
  const channels = Number(typeOf(state, value).shape[1]);
  const converted =
    layout === "blocked"
      ? toBlocked(state.emit, layouts.plain as string)
      : toPlain(state.emit, layouts.blocked as string, channels);
  layouts[layout] = converted;
  return converted;
}

/**
 * A graph output must be made by a node, and not by DequantizeLinear: where a Transpose reads it too, ONNX Runtime 1.30's
 * optimizer moves the Transpose before it and loses the output, which ends the process.
 */
function outputOf(state: State, name: string, dequantized: ReadonlySet<string>): string {
  const value = valueIn(state, name, "plain");
  const isMade = !state.graph.values.has(value) && !dequantized.has(value);
  return isMade ? value : state.emit.node("Identity", [value]);
}

function contextOf(state: State, node: Node): LoweringContext {
  const name = (input: number): string => {
    const found = node.inputs[input];
    assert(found, `${node.op} lacks input ${input}`);
    return found;
  };
  return {
    node,
    emit: state.emit,
    block: state.block,
    has: (input) => Boolean(node.inputs[input]),
    input: (input, layout = "plain") => valueIn(state, name(input), layout),
    hasLayout: (input, layout) => state.layouts.get(name(input))?.[layout] !== undefined,
    type: (input) => typeOf(state, name(input)),
    outputType: (output) => typeOf(state, node.outputs[output]),
    wants: (output) => Boolean(node.outputs[output]),
    constant: (input) => state.graph.constants.get(name(input)),
    set: (output, value, layout = "plain") => {
      const target = node.outputs[output];
      if (!target) return;
      assert(
        layout === "plain" || canBlock(typeOf(state, target), state.block),
        `${target} cannot be laid out in blocks`,
      );
      state.layouts.set(target, { [layout]: value });
    },
    shared: <T>(key: string, make: () => T): T => {
      if (!state.shared.has(key)) state.shared.set(key, make());
      return state.shared.get(key) as T;
    },
    alreadyShared: <T>(key: string) => state.shared.get(key) as T | undefined,
    find: (op, inputs, layout) => {
      const found = state.byInputs.get(signature(op, inputs));
      return found === undefined ? undefined : state.layouts.get(found)?.[layout];
    },
  };
}

function finish(
  graph: Graph,
  nodes: readonly Node[],
  constants: Graph["constants"],
  outputs: ReadonlyMap<string, string>,
): Graph {
  const read = new Set([...nodes.flatMap((node) => node.inputs), ...outputs.values()]);
  const used = new Map([...constants].filter(([name]) => read.has(name)));
  const values = new Map<string, ValueType>();
  for (const [name, { dtype, shape }] of used) values.set(name, { dtype, shape });
  const inputs = [...graph.inputs, ...graph.variables.filter((name) => read.has(name))];
  for (const name of inputs) values.set(name, graph.values.get(name) as ValueType);
  for (const [name, value] of outputs) values.set(value, graph.values.get(name) as ValueType);
  return {
    name: graph.name,
    inputs,
    outputs: [...new Set(outputs.values())],
    nodes,
    values,
    constants: used,
    variables: [],
    updates: new Map(),
  };
}
