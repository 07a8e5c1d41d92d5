// The portable engine: lowers a graph to one ONNX model and runs it in ONNX Runtime.
import { dtypes } from "../../ir/dtype.ts";
import { assert, FrostbitError } from "../../ir/errors.ts";
import { describeNode, type Graph, type Node } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { isOpType, type OpType } from "../../ops/index.ts";
import type { CompileOptions, Engine, Executable, Program, ProgramRunOptions, Variables } from "../engine.ts";
import { areHeldBy, createHeldVariables, type HeldVariables } from "../held-variables.ts";
import { detectBlock } from "./detect-blocks.ts";
import { encodeGraph } from "./encode-graph.ts";
import { lower } from "./lower.ts";
import { openSession, type Session, type SessionOptions } from "./open-session.ts";
import type { OrtModule } from "./ort-module.ts";

/** Operators that ONNX Runtime's CPU kernels compute in float32 alone; a test runs every other one in float64. */
const float32Only: ReadonlySet<OpType> = new Set([
  ...(["Conv", "ConvTranspose", "ConvGradientInput"] as const),
  ...(["AveragePool", "AveragePoolGradient", "GlobalAveragePool", "GlobalMaxPool"] as const),
  ...(["Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Softsign", "Softplus"] as const),
  ...(["LeakyRelu", "ThresholdedRelu", "Mish", "InstanceNormalization", "GroupNormalization", "Resize"] as const),
  ...(["Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Erf", "Gelu"] as const),
  ...(["LSTM", "GRU", "RNN"] as const),
  ...(["PRelu", "Mean", "OneHot", "NonZero", "QuantizeLinear", "DequantizeLinear"] as const),
  "DequantizeLinearGradient",
]);
/** Their outputs beside the first are float32 whatever they read. */
const float32Statistics: ReadonlySet<OpType> = new Set<OpType>(["LayerNormalization"]);

const dtypesOf = (node: Node, graph: Graph) =>
  [...node.inputs, ...node.outputs].flatMap((value) => graph.values.get(value)?.dtype ?? []);

function supports(node: Node, graph: Graph): boolean {
  if (!isOpType(node.op)) return false;
  const used = dtypesOf(node, graph);
  if (used.includes("bfloat16")) return false;
  if (!used.includes("float64")) return true;
  return !float32Only.has(node.op) && !(float32Statistics.has(node.op) && node.outputs.length > 1);
}

function assertSupported(graph: Graph): void {
  const refused = graph.nodes.filter((node) => !supports(node, graph));
  if (refused.length === 0) return;
  const list = refused.map((node) => `${describeNode(node)} of ${[...new Set(dtypesOf(node, graph))].join(", ")}`);
  throw new FrostbitError(
    "UNSUPPORTED_OP",
    `The onnxruntime engine cannot run ${list.join("; ")}. It runs float32 throughout and few operators in float64. Use engine: "reference" for these.`,
  );
}

/**
 * Training graphs must stay as they are: no integer kernels in place of fake quantization. Threads that spin while they wait
 * cost a third of the time when others want the processor (docs/decisions/0011).
 */
const trainingExtra = {
  session: { disable_quant_qdq: "1", set_denormal_as_zero: "1", intra_op: { allow_spinning: "0" } },
  // Removing quantizers that change nothing, ONNX Runtime 1.30 ends the process where Transposes stand between them.
  optimization: { disable_specified_optimizers: "QDQFinalCleanupTransformer" },
};

/**
 * ONNX Runtime as an engine. `load` gives onnxruntime-node or onnxruntime-web and is called at the first compile; `providers`
 * are what runs the operators, the preferred first: the processor where absent.
 */
export function createSessionEngine(load: () => Promise<OrtModule>, providers?: readonly string[]): Engine {
  return {
    name: "onnxruntime",
    precisions: ["float32"],
    supports,
    compile: async (graph, options) =>
      compile(await load(), graph, { ...options, ...(providers ? { providers } : {}) }),
    variables: async (initial) => createHeldVariables("onnxruntime", initial),
  };
}

async function compile(
  ort: OrtModule,
  graph: Graph,
  { threads, providers }: CompileOptions & Pick<SessionOptions, "providers">,
): Promise<Executable> {
  assertSupported(graph);
  const lowered = lower(graph, { block: await detectBlock(ort) });
  const session = await openSession(ort, encodeGraph(lowered.graph), {
    ...(threads === undefined ? {} : { threads }),
    ...(providers ? { providers } : {}),
    extra: trainingExtra,
  });
  let isDisposed = false;
  const runOn = async (variables: BoundVariables, inputs: ReadonlyMap<string, Tensor>, options?: ProgramRunOptions) => {
    if (isDisposed)
      throw new FrostbitError("ENGINE", `Graph "${graph.name}" was run after its executable was disposed.`);
    return run({ graph, session, outputs: lowered.outputs, fed: lowered.graph.inputs }, variables, inputs, options);
  };
  return {
    bind: (variables, names): Program => {
      const { current } = heldVariables(variables);
      const bound = { current, nameOf: (variable: string) => names?.get(variable) ?? variable };
      return { run: (inputs, options) => runOn(bound, inputs, options) };
    },
    dispose: async () => {
      if (isDisposed) return;
      isDisposed = true;
      await session.dispose();
    },
  };
}

function heldVariables(variables: Variables): HeldVariables {
  if (areHeldBy("onnxruntime", variables)) return variables;
  throw new FrostbitError(
    "ENGINE",
    "These variables belong to another engine. Make them with this engine's variables().",
  );
}

interface BoundVariables extends Pick<HeldVariables, "current"> {
  /** What a variable of the graph is called. */
  readonly nameOf: (variable: string) => string;
}

interface Compiled {
  readonly graph: Graph;
  readonly session: Session;
  readonly outputs: ReadonlyMap<string, string>;
  /** What the session wants to be fed. */
  readonly fed: readonly string[];
}

async function run(
  compiled: Compiled,
  variables: BoundVariables,
  inputs: ReadonlyMap<string, Tensor>,
  { fetch, signal }: ProgramRunOptions = {},
): Promise<ReadonlyMap<string, Tensor>> {
  const { graph, session } = compiled;
  if (signal?.aborted) throw new FrostbitError("ABORTED", "Stopped.", { cause: signal.reason });
  const wanted = fetch ?? graph.outputs;
  const fetched = [...new Set([...wanted, ...graph.updates.values()])].map((name) => outputOf(compiled, name));
  const results = fetched.length === 0 ? new Map() : await session.run(feedsOf(compiled, variables, inputs), fetched);
  const result = (name: string): Tensor => {
    const value = results.get(outputOf(compiled, name));
    assert(value, `no result "${name}"`);
    return value;
  };
  const { current, nameOf } = variables;
  for (const [variable, value] of graph.updates) current.set(nameOf(variable), result(value));
  return new Map(wanted.map((name) => [name, result(name)]));
}

function outputOf({ graph, outputs }: Compiled, name: string): string {
  const found = outputs.get(name);
  if (found !== undefined) return found;
  throw new FrostbitError(
    "BAD_OPTION",
    `fetch: graph "${graph.name}" has no output "${name}"; it has ${graph.outputs.join(", ")}.`,
  );
}

function feedsOf(
  { graph, fed }: Compiled,
  { current, nameOf }: BoundVariables,
  inputs: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, Tensor> {
  const isVariable = new Set(graph.variables);
  return new Map(
    fed.map((name) => [
      name,
      checked(graph, name, isVariable.has(name) ? current.get(nameOf(name)) : inputs.get(name), isVariable.has(name)),
    ]),
  );
}

function checked(graph: Graph, name: string, value: Tensor | undefined, isVariable: boolean): Tensor {
  const what = isVariable ? "variable" : "input";
  if (!value)
    throw new FrostbitError("BAD_DATA", `Graph "${graph.name}" wants the ${what} "${name}", which was not given.`);
  const type = graph.values.get(name);
  assert(type, `${what} "${name}" has no type`);
  const fits =
    type.shape.length === value.shape.length &&
    type.shape.every((size, axis) => typeof size === "string" || size === value.shape[axis]);
  if (fits && type.dtype === value.dtype && value.dtype in dtypes) return value;
  throw new FrostbitError(
    "BAD_DATA",
    `The ${what} "${name}" is ${value.dtype} [${value.shape.join(", ")}]; expected ${type.dtype} [${type.shape.join(", ")}].`,
  );
}
