// What an operator's lowering works with: values in the layout it wants, new slots, steps.
import type { DType, TypedArray } from "../../ir/dtype.ts";
import { assert } from "../../ir/errors.ts";
import type { Dim, Graph, Node } from "../../ir/graph.ts";
import { halfOf, narrowTensor } from "../../ir/half.ts";
import { scalar, sizeOf, type Tensor } from "../../ir/tensor.ts";
import { loaded, storedTensor } from "../../ir/tensor-source.ts";
import {
  bytesOf,
  collapsed,
  type Fused,
  type FusedOperation,
  fixed,
  isEitherLayout,
  list,
  type MemoryLayout,
  memoryOrder,
  type Slot,
  type Step,
  stridesOf,
  type Value,
} from "./plan.ts";

interface EmitOptions {
  readonly inputs?: readonly (Value | undefined)[];
  readonly outputs?: readonly (Value | undefined)[];
  readonly ints?: readonly number[];
  readonly floats?: readonly number[];
  readonly inPlace?: Step["inPlace"];
}

interface FusedOptions {
  readonly elementwise: readonly (Value | undefined)[];
  readonly broadcast?: readonly (Value | undefined)[];
  readonly results?: readonly (Value | undefined)[];
  readonly epilogue?: readonly (Value | undefined)[];
  readonly ints?: readonly number[];
  readonly floats?: readonly number[];
  /** Elements of a row; absent where the operation does not care. */
  readonly width?: number;
  /** Sizes that only a run knows count as their maximum: elements beyond them are never read. */
  readonly isOpen?: boolean;
}

/** What the processor computes exactly or fast, and the plan may use. */
export interface Numerics {
  /** Weights' codes up to this magnitude are multiplied as integers; 0: none. */
  readonly integers: number;
  /** There are gradients of our own in bfloat16: a weight gradient, and both by Winograd's algorithm. */
  readonly ownBfloat16: boolean;
  /** There are float32 3 × 3 convolutions and gradients of theirs by Winograd's algorithm. */
  readonly winograd: boolean;
  /** The other products are bfloat16 ones, and what is kept between fused steps takes 16 bits. */
  readonly bfloat16: boolean;
  /** What would implement a step whose operands have these sizes in bytes. */
  readonly implementation: (kernel: string, bytes: readonly number[], ints: readonly number[]) => string;
  /** One of a question's candidates for the node; the same for the same question as long as a program is planned. */
  readonly choose: (question: KernelQuestion, node: Node) => string;
  /** Kernels of our own that this processor computes wrongly. */
  readonly faulty: ReadonlySet<string>;
}

/** Which of several kernels computes something. */
export interface KernelQuestion {
  /** Direction, type and shape: what an answer is remembered by. */
  readonly key: string;
  /** What is taken where nothing was measured. */
  readonly preferred: string;
  /** At least two. */
  readonly candidates: readonly Candidate[];
  /** Of the batch, which a measurement may have fewer of. */
  readonly images: number;
  /** Of all images. */
  readonly multiplyAdds: number;
  /** Numbers of rows to measure with, where a run chooses them. */
  readonly counts: readonly number[];
}

export interface Candidate {
  readonly kernel: string;
  /** What takes its time for so many images: itself, and conversions that it alone needs. */
  readonly steps: (images: number) => readonly TrialStep[];
}

/** Memory of a measurement; the same object is the same memory. */
export interface Operand {
  readonly bytes: number;
  /** What it holds; absent: any numbers. */
  readonly data?: TypedArray;
  /** Where in the buffers of a step of windows it lies; absent: in memory. */
  readonly buffer?: number;
}

/** A step as it is measured; its only count of rows is −1. */
export interface TrialStep {
  readonly kernel: string;
  /** "passing" is the buffer between operations of a fused step. */
  readonly operands: readonly (Operand | "passing" | undefined)[];
  readonly ints: readonly number[];
  /** Of a fused step, or one of windows. */
  readonly operations?: readonly TrialStep[];
}

export interface LoweringContext {
  readonly graph: Graph;
  readonly node: Node;
  readonly numerics: Numerics;
  /** The nodes around a value. */
  readonly uses: Uses;
  /** Nodes that serve the updates alone. */
  readonly late: ReadonlySet<Node>;
  /** What quantized weights that products read are in codes, by their names. */
  readonly weights: Map<string, WeightCodes>;
  /** An input in the graph's type; `undefined` where it is left out. */
  readonly optional: (i: number) => Value | undefined;
  readonly input: (i: number, layout?: MemoryLayout) => Value;
  /** An input as it is stored. */
  readonly stored: (i: number) => Value;
  /** Any value that is there already, row-major. */
  readonly named: (name: string) => Value;
  /** The same as it is stored. */
  readonly storedAs: (name: string) => Value;
  /** The float32 that a stored value stands for. */
  readonly widened: (value: Value) => Value;
  /** A value of floats or codes in bfloat16. */
  readonly narrowed: (value: Value) => Value;
  /** The same value in another layout. */
  readonly as: (value: Value, layout: MemoryLayout) => Value;
  /** A new value of the node's i-th output's type; `undefined` where nothing reads it. */
  readonly output: (i: number, layout?: MemoryLayout) => Value | undefined;
  /** The i-th output is this value. */
  readonly define: (i: number, value: Value) => void;
  readonly scratch: (dtype: DType, shape: readonly Dim[], layout?: MemoryLayout) => Value;
  readonly constant: (value: number) => Value;
  readonly emit: (kernel: string, options: EmitOptions) => void;
  /** A step that works element by element over as many elements as its first element-wise operand or result has. */
  readonly emitFused: (kernel: string, options: FusedOptions) => void;
  /** A size as steps take it: the number, or which count of rows it is. */
  readonly size: (dim: Dim) => number;
  /** The maximum of a size. */
  readonly maxSize: (dim: Dim) => number;
  /** What a constant input holds. */
  readonly constantOf: (i: number) => readonly number[] | undefined;
}

/** The symbolic sizes that stay open in a plan; others are numbers by then. */
export type Open = ReadonlySet<string>;

/** Whether a value's sizes are numbers when a plan is made. */
export function isSettled(graph: Graph, value: string | undefined, open: Open): boolean {
  return !graph.values.get(value ?? "")?.shape.some((size) => typeof size === "string" && open.has(size));
}

/** Whether what a value holds is known when a plan is made; so it is where it is left out. */
export const isKnown = (graph: Graph, value: string | undefined): boolean =>
  value === undefined || value === "" || graph.constants.has(value) || graph.values.get(value)?.elements !== undefined;

type LoweringRule = (lowering: LoweringContext) => void;

/** An operator of the engine. */
export interface NativeOp {
  readonly lower: LoweringRule;
  /** Inputs that are int64 whatever the rest is; the others are float32. */
  readonly integers?: readonly number[];
  /** Inputs that are bool. */
  readonly conditions?: readonly number[];
  /** Its output is bool. */
  readonly decides?: true;
  /** It moves elements of any type. */
  readonly anyType?: true;
  /** Forms that it does not have are refused. */
  readonly accepts?: (node: Node, graph: Graph, open: Open) => boolean;
  /** It takes values whose number of rows is known only at the run. */
  readonly takesRows?: true;
}

const movable: ReadonlySet<number> = new Set([1, 2, 4, 8]);

/** Whether the types of a node's values are those that the operator computes with. */
export function acceptsTypes(op: NativeOp, node: Node, graph: Graph): boolean {
  const dtypeOf = (value: string): DType | undefined => (value === "" ? undefined : graph.values.get(value)?.dtype);
  if (op.anyType)
    return [node.inputs[0], node.outputs[0]].every((value) => {
      const dtype = dtypeOf(value);
      // What is stored as bfloat16 is taken for float32.
      return dtype !== undefined && dtype !== "bfloat16" && movable.has(bytesOf(dtype));
    });
  const inputs = node.inputs.every((value, i) => {
    const dtype = dtypeOf(value);
    const expected = op.integers?.includes(i) ? "int64" : op.conditions?.includes(i) ? "bool" : "float32";
    return dtype === undefined || dtype === expected;
  });
  const given = op.decides ? "bool" : "float32";
  return inputs && node.outputs.every((value) => (dtypeOf(value) ?? given) === given);
}

/** The loops that copy `from` to `to`, in the order of `to`'s memory. */
export function copyNest(
  sizes: readonly number[],
  from: readonly number[],
  to: readonly number[],
  order: readonly number[],
): readonly number[] {
  const pick = (values: readonly number[]): number[] => order.map((axis) => values[axis]);
  const nest = collapsed({ sizes: pick(sizes), strides: [pick(from), pick(to)] });
  return [...list(nest.sizes), ...nest.strides.flatMap(list)];
}

/** Who makes a value, and who reads it. */
export interface Uses {
  readonly producers: ReadonlyMap<string, Node>;
  readonly readers: ReadonlyMap<string, readonly Node[]>;
}

export function usesOf(graph: Graph): Uses {
  const producers = new Map<string, Node>();
  const readers = new Map<string, Node[]>();
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output !== "") producers.set(output, node);
    for (const input of new Set(node.inputs)) readers.set(input, [...(readers.get(input) ?? []), node]);
  }
  return { producers, readers };
}

/** Integers around zero, and the scales to read them with. */
export interface WeightCodes {
  readonly codes: Value;
  readonly scale: Value;
}

/** The values and steps of a graph that is being lowered. */
export interface Draft {
  readonly values: Map<string, Value>;
  readonly steps: Step[];
  readonly counts: ReadonlyMap<string, number>;
  readonly copies: Map<Value, Value>;
  readonly narrowed: Map<Slot, Value>;
  readonly widened: Map<Slot, Value>;
  readonly weights: Map<string, WeightCodes>;
  readonly uses: Uses;
  readonly numerics: Numerics;
  /** Nodes that serve the updates alone. */
  readonly late: ReadonlySet<Node>;
}

const loads: ReadonlySet<string> = new Set(["widen:bfloat16", "dequantize"]);

export function createLoweringContext(draft: Draft, graph: Graph, node: Node): LoweringContext {
  const order = [...draft.counts.keys()];
  const maxSize = (dim: Dim): number => (typeof dim === "number" ? dim : (draft.counts.get(dim) ?? unknown(dim)));
  const size = (dim: Dim): number => (typeof dim === "number" ? dim : -1 - order.indexOf(dim));
  const scratch = (dtype: DType, shape: readonly Dim[], layout: MemoryLayout = "plain"): Value => ({
    slot: { bytes: bytesOf(dtype) * sizeOf(shape.map(maxSize)), location: { kind: "arena" } },
    dtype,
    shape,
    layout,
  });
  const emit = (kernel: string, options: EmitOptions): void => {
    const { inputs = [], outputs = [], ints = [], floats = [], inPlace = [] } = options;
    const slots = (values: readonly (Value | undefined)[]): (Slot | undefined)[] => values.map((value) => value?.slot);
    draft.steps.push({ kernel, inputs: slots(inputs), outputs: slots(outputs), ints, floats, inPlace, node });
  };
  const emitFused = (kernel: string, options: FusedOptions): void => {
    const slots = (values: readonly (Value | undefined)[] = []): (Slot | undefined)[] =>
      values.map((value) => value?.slot);
    const { elementwise, results = [], ints = [], floats = [], width = 0, isOpen = false } = options;
    const measured = elementwise.find((value) => value !== undefined) ?? results.find((value) => value !== undefined);
    assert(measured, `fused operation ${kernel} has no elements`);
    const operation: FusedOperation = {
      kernel,
      elementwise: slots(elementwise),
      broadcast: slots(options.broadcast),
      results: slots(results),
      epilogue: slots(options.epilogue),
      ints,
      floats,
      node,
    };
    const count = sizeOf(isOpen ? measured.shape.map(maxSize) : fixed(measured.shape));
    const fused = { count, width, operations: [operation], isLoad: loads.has(kernel), isLate: draft.late.has(node) };
    draft.steps.push(fusedStep(fused));
  };
  const widened = (value: Value): Value => {
    if (value.dtype !== "bfloat16" && !value.codes) return value;
    const known = draft.widened.get(value.slot);
    if (known) return { ...known, shape: value.shape, layout: value.layout };
    const wide = scratch("float32", value.shape, value.layout);
    draft.widened.set(value.slot, wide);
    const { codes } = value;
    if (codes) emitFused("dequantize", { elementwise: [value], broadcast: [codes.scale, codes.zero], results: [wide] });
    else emitFused("widen:bfloat16", { elementwise: [value], results: [wide], isOpen: true });
    return wide;
  };
  const narrowed = (value: Value): Value => {
    if (value.dtype === "bfloat16") return value;
    const known = draft.narrowed.get(value.slot);
    if (known) return { ...known, shape: value.shape, layout: value.layout };
    const narrow = narrowedNow(value) ?? scratch("bfloat16", value.shape, value.layout);
    if (narrow.slot.location.kind === "arena")
      emitFused("narrow:bfloat16", { elementwise: [widened(value)], results: [narrow, undefined], isOpen: true });
    draft.narrowed.set(value.slot, narrow);
    return narrow;
  };
  const as = (value: Value, layout: MemoryLayout): Value => {
    if (value.layout === layout) return value;
    if (isEitherLayout(value.shape)) return { ...value, layout };
    const known = draft.copies.get(value);
    if (known) return known;
    const copy: Value = { ...value, ...scratch(value.dtype, value.shape, layout) };
    const shape = fixed(value.shape);
    const nest = copyNest(
      shape,
      stridesOf(shape, value.layout),
      stridesOf(shape, layout),
      memoryOrder(shape.length, layout),
    );
    emit(`copy${bytesOf(value.dtype)}`, { inputs: [value], outputs: [copy], ints: [...nest, 0, 0] });
    draft.copies.set(value, copy);
    return copy;
  };
  const find = (i: number): Value | undefined => {
    const name = node.inputs[i];
    return name === undefined || name === "" ? undefined : findValue(draft, graph, name);
  };
  const optional = (i: number): Value | undefined => {
    const value = find(i);
    return value && widened(value);
  };
  const input = (i: number, layout?: MemoryLayout): Value => {
    const value = optional(i);
    assert(value, `${node.op} without input ${i}`);
    return layout === undefined ? value : as(value, layout);
  };
  const define = (i: number, value: Value): void => {
    const name = node.outputs[i];
    if (name !== undefined && name !== "") draft.values.set(name, value);
  };
  return {
    graph,
    node,
    numerics: draft.numerics,
    uses: draft.uses,
    late: draft.late,
    weights: draft.weights,
    optional,
    input,
    stored: (i) => {
      const value = find(i);
      assert(value, `${node.op} without input ${i}`);
      return value;
    },
    storedAs: (name) => findValue(draft, graph, name),
    widened,
    named: (name) => as(widened(findValue(draft, graph, name)), "plain"),
    narrowed,
    as,
    output: (i, layout = "plain") => {
      const name = node.outputs[i];
      if (name === undefined || name === "") return undefined;
      const type = graph.values.get(name);
      assert(type, `value "${name}" has no type`);
      const value = scratch(type.dtype, type.shape, layout);
      define(i, value);
      return value;
    },
    define,
    scratch,
    constant: (value) => constantValue(scalar("float32", value)),
    emit,
    emitFused,
    size,
    maxSize,
    constantOf: (i) => {
      const value = optional(i);
      return value?.slot.location.kind === "constant" ? Array.from(value.slot.location.value.data, Number) : undefined;
    },
  };
}

/** A constant in bfloat16 as a constant: it is rounded when its memory is filled. */
function narrowedNow(value: Value): Value | undefined {
  const { location } = value.slot;
  if (location.kind !== "constant" || value.dtype !== "float32") return undefined;
  return { ...constantValue(narrowTensorOf(location.value)), shape: value.shape, layout: value.layout };
}

const narrowTensors = new WeakMap<Tensor, Tensor>();

/** One for each tensor, so that all plans share its memory. */
function narrowTensorOf(wide: Tensor): Tensor {
  const half = halfOf(wide);
  if (half?.dtype === "bfloat16") return half;
  const known = narrowTensors.get(wide);
  if (known) return known;
  const bits = (): TypedArray => narrowTensor(loaded(wide), "bfloat16").data;
  const made = storedTensor("bfloat16", wide.shape, bits);
  narrowTensors.set(wide, made);
  return made;
}

function unknown(dim: string): never {
  throw new Error(`internal: size "${dim}" is not fixed`);
}

/** A fused step, with all its operations' memory as operands. */
export function fusedStep(fused: Fused): Step {
  const isMemory = (slot: Slot | undefined): slot is Slot => slot !== undefined && slot.location.kind !== "local";
  const { operations } = fused;
  const written = new Set(operations.flatMap(({ results, epilogue }) => [...results, ...epilogue].filter(isMemory)));
  const read = new Set(
    operations.flatMap(({ elementwise, broadcast }) => [...elementwise, ...broadcast].filter(isMemory)),
  );
  const inputs = [...read].filter((slot) => !written.has(slot));
  const outputs = [...written];
  const lastRead = (slot: Slot): number =>
    operations.findLastIndex(({ elementwise, broadcast }) => [...elementwise, ...broadcast].includes(slot));
  const isStream = (slot: Slot): boolean => operations.every(({ broadcast }) => !broadcast.includes(slot));
  const inPlace = outputs.flatMap((output, to) => {
    const made = operations.findIndex(({ results }) => results.includes(output));
    const takes = (input: Slot): boolean => input.bytes === output.bytes && isStream(input) && lastRead(input) <= made;
    return inputs.flatMap((input, from) => (takes(input) ? [[to, from] as const] : []));
  });
  return {
    kernel: "fused",
    inputs,
    outputs,
    ints: [fused.count, Math.max(1, fused.width)],
    floats: [],
    inPlace,
    fused,
  };
}

/** A tensor that the plan holds. */
export const constantValue = (value: Tensor): Value => ({
  slot: { bytes: sizeOf(value.shape) * bytesOf(value.dtype), location: { kind: "constant", value } },
  dtype: value.dtype,
  shape: value.shape,
  layout: "plain",
});

function findValue(draft: Draft, graph: Graph, name: string): Value {
  const known = draft.values.get(name);
  if (known) return known;
  const constant = graph.constants.get(name);
  assert(constant, `value "${name}" is read before it is made`);
  const value = constantValue(constant);
  draft.values.set(name, value);
  return value;
}
