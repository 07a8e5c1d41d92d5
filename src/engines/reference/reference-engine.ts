// The oracle: runs graphs node by node with plain kernels, in any dtype up to float64.
import { assert, FrostbitError } from "../../ir/errors.ts";
import { describeNode, type Graph, type Node, type ValueType } from "../../ir/graph.ts";
import { copyTensor, type Tensor } from "../../ir/tensor.ts";
import { loaded } from "../../ir/tensor-source.ts";
import { kernels } from "../../kernels/index.ts";
import { isOpType } from "../../ops/index.ts";
import { inferNode } from "../../ops/infer.ts";
import { checkInputs, checkVariable } from "../check-inputs.ts";
import type { Engine, Executable, Program, ProgramRunOptions } from "../engine.ts";
import { areHeldBy, createHeldVariables, type HeldVariables } from "../held-variables.ts";

const isHalf = (graph: Graph, value: string): boolean => /^b?float16$/.test(graph.values.get(value)?.dtype ?? "");

/** Half precision is held as bits, which no kernel computes with. */
const supports = (node: Node, graph: Graph): boolean =>
  isOpType(node.op) && ![...node.inputs, ...node.outputs].some((value) => isHalf(graph, value));

function assertSupported(graph: Graph): void {
  const refused = graph.nodes.filter((node) => !supports(node, graph));
  if (refused.length === 0) return;
  throw new FrostbitError(
    "UNSUPPORTED_OP",
    `The reference engine cannot run ${refused.map(describeNode).join(", ")}: the operator is unknown or computes in half precision.`,
  );
}

/** The nodes that `wanted` values depend on, in order. */
function neededNodes(graph: Graph, wanted: Iterable<string>): readonly Node[] {
  const needed = new Set(wanted);
  const kept = graph.nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => output !== "" && needed.has(output))) return false;
    for (const input of node.inputs) needed.add(input);
    return true;
  });
  return kept.reverse();
}

/** After each node, the values that nothing later reads. */
function lastUses(nodes: readonly Node[], kept: ReadonlySet<string>): readonly (readonly string[])[] {
  const seen = new Set(kept);
  const ends = nodes.toReversed().map((node) => {
    const last = [...new Set([...node.inputs, ...node.outputs])].filter((value) => value !== "" && !seen.has(value));
    for (const value of last) seen.add(value);
    return last;
  });
  return ends.reverse();
}

interface Plan {
  readonly nodes: readonly Node[];
  readonly free: readonly (readonly string[])[];
}

function planOf(graph: Graph, fetch: readonly string[]): Plan {
  const wanted = new Set([...fetch, ...graph.updates.values()]);
  const nodes = neededNodes(graph, wanted);
  return { nodes, free: lastUses(nodes, wanted) };
}

/** What was not known before the run, sizes and contents, is checked by the operator's own rule now that it is. */
const typesInRun = (node: Node, values: ReadonlyMap<string, Tensor>): readonly ValueType[] =>
  inferNode(
    node,
    (name) => {
      const { dtype, shape } = valueNamed(values, name);
      return { dtype, shape };
    },
    (name) => values.get(name),
  );

function runNode(node: Node, values: Map<string, Tensor>): void {
  assert(isOpType(node.op), `${node.op} was compiled without a kernel`);
  const inputs = node.inputs.map((input) => {
    if (input === "") return undefined;
    const value = values.get(input);
    assert(value, `${describeNode(node)} reads "${input}" before it is made`);
    return value;
  });
  const types = typesInRun(node, values);
  const results = kernels[node.op](inputs, node);
  node.outputs.forEach((output, i) => {
    const result = results[i];
    if (output === "" || !result) return;
    const { dtype, shape } = types[i];
    const isAsInferred = shape.every((dim, axis) => typeof dim === "string" || dim === result.shape[axis]);
    assert(
      result.dtype === dtype && result.shape.length === shape.length && isAsInferred,
      `${describeNode(node)} gives ${result.dtype} [${result.shape}], inferred was ${dtype} [${shape}]`,
    );
    values.set(output, result);
  });
}

/** Lets timers and events happen, so that an abort can arrive. */
const yieldToEventLoop = (): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, 0);
  });

const yieldIntervalMs = 50;

async function runNodes({ nodes, free }: Plan, values: Map<string, Tensor>, signal?: AbortSignal): Promise<void> {
  let last = performance.now();
  for (const [i, node] of nodes.entries()) {
    if (signal && performance.now() - last > yieldIntervalMs) {
      await yieldToEventLoop();
      last = performance.now();
    }
    if (signal?.aborted) throw new FrostbitError("ABORTED", "Stopped.", { cause: signal.reason });
    runNode(node, values);
    for (const value of free[i]) values.delete(value);
  }
}

function valueNamed(values: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const value = values.get(name);
  assert(value, `value "${name}" was not computed`);
  return value;
}

function assertKnownOutputs(graph: Graph, fetch: readonly string[]): void {
  const unknown = fetch.filter((name) => !graph.outputs.includes(name));
  if (unknown.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `fetch names ${unknown.map((name) => `"${name}"`).join(", ")}; the graph's outputs are ${graph.outputs.map((name) => `"${name}"`).join(", ")}.`,
    );
}

function createProgram(graph: Graph, variables: HeldVariables, nameOf: (variable: string) => string): Program {
  const plans = new Map<string, Plan>();
  const planFor = (fetch: readonly string[]): Plan => {
    const key = JSON.stringify(fetch);
    const plan = plans.get(key) ?? planOf(graph, fetch);
    plans.set(key, plan);
    return plan;
  };
  return {
    run: async (inputs, { fetch = graph.outputs, signal }: ProgramRunOptions = {}) => {
      assertKnownOutputs(graph, fetch);
      checkInputs(graph, inputs);
      const values = new Map([...graph.constants, ...inputs]);
      for (const name of graph.variables) {
        const value = variables.current.get(nameOf(name));
        checkVariable(graph, name, value);
        if (value) values.set(name, value);
      }
      await runNodes(planFor(fetch), values, signal);
      const outputs = new Map(fetch.map((name) => [name, valueNamed(values, name)]));
      const updates = [...graph.updates].map(([name, value]) => [name, copyTensor(valueNamed(values, value))] as const);
      for (const [name, value] of updates) variables.current.set(nameOf(name), value);
      return outputs;
    },
  };
}

function createExecutable(graph: Graph): Executable {
  return {
    bind: (variables, names) => {
      if (!areHeldBy("reference", variables))
        throw new FrostbitError(
          "ENGINE",
          "The reference engine was given another engine's variables; make them with its variables().",
        );
      const nameOf = (variable: string): string => names?.get(variable) ?? variable;
      for (const name of graph.variables) checkVariable(graph, name, variables.current.get(nameOf(name)));
      return createProgram(graph, variables, nameOf);
    },
    dispose: async () => {},
  };
}

export const createReferenceEngine = (): Engine => ({
  name: "reference",
  precisions: ["float32"],
  supports,
  compile: async (graph) => {
    assertSupported(graph);
    const constants = new Map([...graph.constants].map(([name, value]) => [name, loaded(value)]));
    return createExecutable({ ...graph, constants });
  },
  variables: async (initial) => createHeldVariables("reference", initial),
});
