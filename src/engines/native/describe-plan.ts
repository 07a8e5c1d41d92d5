// What a graph's plan consists of and what implements it, for people.
import { availableParallelism } from "node:os";
import type { Dim, Graph, Node } from "../../ir/graph.ts";
import { sizeOf } from "../../ir/tensor.ts";
import { opDefinition } from "../../ops/index.ts";
import type { KernelChoices, Precision } from "../engine.ts";
import { fixSizes } from "../planning/fix-sizes.ts";
import { updateNodes } from "../planning/update-nodes.ts";
import { loadAddon, type NativeMemory } from "./addon.ts";
import { attentionMultiplyAdds } from "./attention/join-attention.ts";
import { faultyKernelsFor } from "./check-kernels.ts";
import { createKernelChooser, type KernelChooser, lowerSettled } from "./choose-kernels.ts";
import { isReference } from "./convolution-geometry.ts";
import { whyNotIntegers } from "./integers.ts";
import { assertSupported, lower, openRowCounts } from "./lower.ts";
import { usesOf } from "./lowering.ts";
import { assemble, bindProgram, release } from "./memory.ts";
import { createNumerics } from "./numerics.ts";
import { bytesOf, type FusedOperation, type Slot, type Step } from "./plan.ts";

/** A kernel that was measured for a step. */
interface MeasuredKernel {
  readonly kernel: string;
  readonly ms: number;
}

interface PlannedOperation {
  readonly kernel: string;
  /** Absent where it only converts what is stored. */
  readonly node?: string;
}

export interface PlannedStep {
  readonly kernel: string;
  /** The node that it computes; absent where it is of several or only copies. */
  readonly node?: string;
  /** What a fused step does to each chunk of its elements; empty for other steps. */
  readonly parts: readonly PlannedOperation[];
  /** What implements it; "" where that is the one kernel of its name. */
  readonly implementation: string;
  /** Whether it is one of oneDNN's plain loops, or a convolution by matrix products. */
  readonly isSlow: boolean;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Multiply-adds of products; elements, once per fused operation, of all else. Rows that are chosen at the run count as all. */
  readonly operations: number;
  /** What was measured for it on this machine, conversions included, of a part of the batch where that is large; empty where nothing was. */
  readonly candidates: readonly MeasuredKernel[];
}

/** A convolution or matrix product of the forward pass that a plan computes in floats. */
interface FloatProduct {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

export interface PlanDescription {
  readonly precision: Precision;
  readonly threads: number;
  readonly steps: readonly PlannedStep[];
  /** Nodes of the forward pass. */
  readonly integerProducts: readonly string[];
  readonly floatProducts: readonly FloatProduct[];
  /** All intermediate values, which share bytes where they do not live at once. */
  readonly arenaBytes: number;
  readonly constantBytes: number;
  readonly variableBytes: number;
}

export interface DescribeOptions {
  /** By default as many as there are cores. */
  readonly threads?: number;
  readonly precision?: Precision;
  /** What chooses kernels; by rule where absent. */
  readonly kernels?: KernelChoices;
  /** Outputs that are gradients. */
  readonly gradients?: readonly string[];
}

/**
 * The plan that the native engine makes of a graph whose sizes are numbers, but for counts of rows.
 * Throws ENGINE where the engine is not built, UNSUPPORTED_OP where it does not run the graph, BAD_OPTION where the
 * processor does not have the precision.
 */
export async function describePlan(graph: Graph, options: DescribeOptions = {}): Promise<PlanDescription> {
  const { threads = availableParallelism(), precision = "float32", gradients = [], kernels } = options;
  const addon = loadAddon();
  const chooser = createKernelChooser(threads, kernels);
  const numerics = createNumerics(addon, precision, threads, { ...chooser, faulty: await faultyKernelsFor(graph) });
  assertSupported(graph);
  const counts = openRowCounts(graph);
  const fixed = fixSizes(graph, { sizes: new Map(), counts, engine: "native" });
  assertSupported(fixed);
  const plan = await lowerSettled(chooser, () => lower(fixed, counts, numerics, { gradients }));
  const assembled = assemble(addon, plan);
  const variables = new Map<string, NativeMemory>();
  let variableBytes = 0;
  for (const name of graph.variables) {
    const type = graph.values.get(name);
    const bytes = type ? bytesOf(type.dtype) * sizeOf(numbersIn(type.shape, counts)) : 0;
    variables.set(name, new addon.Memory(bytes));
    variableBytes += bytes;
  }
  const implementations = bindProgram(addon, assembled, threads, variables).program.describe();
  release(assembled);
  for (const memory of variables.values()) memory.dispose();
  const uses = usesOf(fixed);
  const late = updateNodes(fixed, gradients);
  const products = fixed.nodes
    .filter((node) => productOps.has(node.op) && !late.has(node))
    .map((node) => ({ node: node.name, op: node.op, reason: whyNotIntegers(node, fixed, uses, numerics) }));
  const describe = (step: Step, implementation: string): PlannedStep => ({
    ...describeStep(step, implementation, fixed, counts),
    candidates: candidatesFor(step, chooser),
  });
  return {
    precision,
    threads,
    steps: plan.steps.flatMap((step, i) =>
      step.parts
        ? step.parts.map((part, j) => describe(part, implementations[i].split("\n")[j]))
        : [describe(step, implementations[i])],
    ),
    integerProducts: products.flatMap(({ node, reason }) => (reason === undefined ? [node] : [])),
    floatProducts: products.flatMap(({ node, op, reason }) => (reason === undefined ? [] : [{ node, op, reason }])),
    arenaBytes: assembled.arena.bytes,
    constantBytes: assembled.constantBytes,
    variableBytes,
  };
}

const productOps: ReadonlySet<string> = new Set(["Conv", "Gemm", "MatMul"]);

/** Steps that do all of their node's multiply-adds. */
const productKernel = /^(convolution|weightGradient|product|matrix|attention)/;

const numbersIn = (shape: readonly Dim[], counts: ReadonlyMap<string, number>): readonly number[] =>
  shape.map((size) => (typeof size === "number" ? size : (counts.get(size) ?? 1)));

function describeStep(
  step: Step,
  implementation: string,
  graph: Graph,
  counts: ReadonlyMap<string, number>,
): Omit<PlannedStep, "candidates"> {
  const { kernel, node, fused, inputs, outputs } = step;
  const isConvolution = kernel.startsWith("convolution");
  return {
    kernel,
    ...(node ? { node: node.name } : {}),
    parts: fused?.operations.map(describeOperation) ?? [],
    implementation,
    isSlow: isReference(implementation) || (isConvolution && implementation.includes("gemm")),
    bytesRead: bytesIn(inputs),
    bytesWritten: bytesIn(outputs),
    operations: node && productKernel.test(kernel) ? multiplyAdds(node, graph, counts) : elementsOf(step),
  };
}

/** Of a node's other steps, such as copies, none. */
function candidatesFor({ kernel, node }: Step, chooser: KernelChooser): readonly MeasuredKernel[] {
  const times = Object.entries((node && chooser.timesOf(node)) ?? {}).map(([name, ms]) => ({ kernel: name, ms }));
  return times.some((time) => time.kernel === kernel.replace("WeightRows", "Weight")) ? times : [];
}

const describeOperation = ({ kernel, node }: FusedOperation): PlannedOperation => ({
  kernel,
  ...(node ? { node: node.name } : {}),
});

const bytesIn = (slots: readonly (Slot | undefined)[]): number =>
  slots.reduce((sum, slot) => sum + (slot?.bytes ?? 0), 0);

/** Four bytes each. */
function elementsOf({ fused, inputs, outputs }: Step): number {
  if (fused) return fused.count * fused.operations.length;
  return Math.max(0, ...[...inputs, ...outputs].map((slot) => (slot?.bytes ?? 0) / 4));
}

/** What is masked counts too. */
function multiplyAdds(node: Node, graph: Graph, counts: ReadonlyMap<string, number>): number {
  const shapesOf = (names: readonly string[]): (readonly number[] | undefined)[] =>
    names.map((name) => {
      const type = graph.values.get(name);
      return type && numbersIn(type.shape, counts);
    });
  const attention = attentionMultiplyAdds(node, shapesOf(node.inputs));
  if (attention !== undefined) return attention;
  const outputs = shapesOf(node.outputs).map((shape) => shape ?? []);
  return opDefinition(node.op)?.cost(shapesOf(node.inputs), outputs, node).multiplyAdds ?? 0;
}
