// The native engine: plans a graph once and runs it in the addon, off the main thread.
import { availableParallelism } from "node:os";
import { type DType, dtypes, type TypedArray } from "../../ir/dtype.ts";
import { assert, FrostbitError } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { joinedTensor, type Pieces, piecesOf } from "../../ir/joined-tensor.ts";
import { copyTensor, sizeOf, type Tensor } from "../../ir/tensor.ts";
import { givenSizes } from "../../passes/with-sizes.ts";
import { checkInputs, checkVariable } from "../check-inputs.ts";
import type {
  CompileOptions,
  Engine,
  Executable,
  Precision,
  Program,
  ProgramRunOptions,
  Variables,
} from "../engine.ts";
import { fixSizes, sizesToFix } from "../planning/fix-sizes.ts";
import { createQueue, type Queue } from "../planning/queue.ts";
import { loadAddon, type NativeAddon, type NativeMemory } from "./addon.ts";
import { faultyKernelsFor } from "./check-kernels.ts";
import { createKernelChooser, type KernelChooser, lowerSettled } from "./choose-kernels.ts";
import { assertSupported, lower, openRowCounts, supports } from "./lower.ts";
import type { Numerics } from "./lowering.ts";
import { type Assembled, assemble, type Bound, bindProgram, placeOf, release } from "./memory.ts";
import { createNumerics } from "./numerics.ts";
import { fixed, type Value } from "./plan.ts";
import { createVariables, isNativeVariables, type NativeVariables } from "./variables.ts";

/** Plans for several batch sizes are kept; older ones are made again. */
const maxPlans = 8;

export function createNativeEngine(): Engine {
  return {
    name: "native",
    get precisions(): readonly Precision[] {
      return loadAddon().information().bfloat16 ? ["float32", "mixed"] : ["float32"];
    },
    supports,
    compile: async (graph, options) => compile(loadAddon(), graph, options),
    variables: async (initial) => createVariables(loadAddon(), initial),
  };
}

interface Compiled {
  readonly addon: NativeAddon;
  readonly graph: Graph;
  readonly threads: number;
  readonly numerics: Numerics;
  readonly chooser: KernelChooser;
  readonly keepsChannelsLast: boolean;
  readonly gradients: readonly string[];
  readonly counts: ReadonlyMap<string, number>;
  readonly open: readonly string[];
  /** By the sizes that were fixed. */
  readonly plans: Map<string, Assembled>;
  readonly queue: Queue;
  isDisposed: boolean;
}

async function compile(addon: NativeAddon, graph: Graph, options: CompileOptions = {}): Promise<Executable> {
  const {
    threads = availableParallelism(),
    precision = "float32",
    keepsChannelsLast = false,
    gradients = [],
  } = options;
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
    throw new FrostbitError("BAD_OPTION", `threads is ${threads}; expected a whole number from 1 to 1024.`);
  assertSupported(graph);
  const counts = openRowCounts(graph);
  const open = sizesToFix(graph, counts);
  const chooser = createKernelChooser(threads, options.kernels);
  const compiled: Compiled = {
    addon,
    graph,
    threads,
    keepsChannelsLast,
    gradients,
    counts,
    open,
    numerics: createNumerics(addon, precision, threads, { ...chooser, faulty: await faultyKernelsFor(graph) }),
    chooser,
    plans: new Map(),
    queue: createQueue(),
    isDisposed: false,
  };
  if (open.length === 0) await makePlan(compiled, new Map());
  return {
    get memoryBytes(): number {
      const planned = [...compiled.plans.values()].map(({ arena, constantBytes }) => arena.bytes + constantBytes);
      return Math.max(0, ...planned);
    },
    runsSeries: true,
    bind: (variables, names) => bind(compiled, variables, names),
    dispose: async () => {
      compiled.isDisposed = true;
      await compiled.queue.run(async () => {
        for (const plan of compiled.plans.values()) release(plan);
        compiled.plans.clear();
      });
    },
  };
}

/** The plan for these sizes, where there is one already. */
const knownPlan = (compiled: Compiled, sizes: Sizes): Assembled | undefined =>
  compiled.plans.get(keyOf(compiled, sizes));

const keyOf = ({ counts, open }: Compiled, sizes: Sizes): string =>
  [...open, ...aboveMost(counts, sizes)].map((size) => `${size}=${sizes.get(size)}`).join();

/** Counts of a model's own indices, which may be more than what they index; of rows that are selected there are never more. */
const aboveMost = (counts: Sizes, sizes: Sizes): readonly string[] =>
  [...counts].flatMap(([size, most]) => ((sizes.get(size) ?? 0) > most ? [size] : []));

type Sizes = ReadonlyMap<string, number>;

async function makePlan(compiled: Compiled, sizes: Sizes): Promise<Assembled> {
  const { addon, graph, plans, numerics, chooser } = compiled;
  const above = aboveMost(compiled.counts, sizes);
  const counts = new Map([...compiled.counts].filter(([size]) => !above.includes(size)));
  const fixed = fixSizes(graph, { sizes, counts, engine: "native" });
  assertSupported(fixed);
  const plan = assemble(addon, await lowerSettled(chooser, () => lower(fixed, counts, numerics, compiled)));
  if (plans.size >= maxPlans)
    for (const [oldest, old] of [...plans].slice(0, 1)) {
      release(old);
      plans.delete(oldest);
    }
  plans.set(keyOf(compiled, sizes), plan);
  return plan;
}

function bind(compiled: Compiled, variables: Variables, names: ReadonlyMap<string, string> = new Map()): Program {
  const { graph } = compiled;
  if (!isNativeVariables(variables))
    throw new FrostbitError(
      "ENGINE",
      "These variables belong to another engine. Make them with the native engine's variables().",
    );
  const tie: Tie = { variables, names, bound: new WeakMap() };
  const inTurn = (
    inputs: ReadonlyMap<string, Tensor>,
    options: ProgramRunOptions,
    turns?: number,
  ): Promise<ReadonlyMap<string, Tensor>> => {
    const sizes = givenSizes(graph, turns === undefined ? inputs : ofOneRun(inputs));
    const waits = compiled.queue.isBusy() || variables.queue.isBusy() || !knownPlan(compiled, sizes);
    const given = waits ? copies(inputs) : inputs;
    return compiled.queue.run(() =>
      variables.queue.run(async () => {
        if (compiled.isDisposed) throw disposed(graph);
        throwIfAborted(graph, options.signal);
        if (graph.updates.size > 0) checkCounts(graph, compiled.counts, sizes);
        const plan = knownPlan(compiled, sizes) ?? (await makePlan(compiled, sizes));
        return run(compiled, plan, programFor(compiled, plan, tie), { inputs: given, sizes, turns }, options);
      }),
    );
  };
  return {
    run: async (inputs, options = {}) => {
      checkRun(compiled, inputs, options);
      return inTurn(inputs, options);
    },
    runSeries: async (inputs, fetch) => {
      checkRun(compiled, inputs, { fetch }, ofOneRun);
      const turns = runsIn(graph, inputs);
      return turns === 0 ? new Map() : inTurn(inputs, { fetch }, turns);
    },
  };
}

type Inputs = ReadonlyMap<string, Tensor>;

/** What each of several runs is given, without elements. */
const ofOneRun = (inputs: Inputs): Inputs =>
  new Map([...inputs].map(([name, { dtype, shape }]) => [name, { dtype, shape: shape.slice(1), data: noData }]));

/** How many runs inputs are of, all of them as many. */
function runsIn(graph: Graph, inputs: Inputs): number {
  const counts = new Set([...inputs.values()].map(({ shape }) => shape[0]));
  const [count] = counts;
  if (counts.size === 1) return count;
  const found = [...inputs].map(([name, { shape }]) => `${shape[0]} for "${name}"`).join(", ");
  throw new FrostbitError("BAD_DATA", `Inputs of several runs of graph "${graph.name}" have ${found || "none"}.`);
}

const disposed = (graph: Graph): FrostbitError =>
  new FrostbitError("ENGINE", `Graph "${graph.name}" was run after its executable was disposed.`);

const copies = (inputs: Inputs): Inputs =>
  new Map([...inputs].map(([name, value]) => [name, piecesOf(value) ? value : copyTensor(value)]));

function checkRun(
  { graph, isDisposed }: Compiled,
  inputs: Inputs,
  options: ProgramRunOptions,
  typed: (inputs: Inputs) => Inputs = (given) => given,
): void {
  if (isDisposed) throw disposed(graph);
  throwIfAborted(graph, options.signal);
  const unknown = (options.fetch ?? []).filter((name) => !graph.outputs.includes(name));
  if (unknown.length > 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `fetch: graph "${graph.name}" has no output "${unknown[0]}"; it has ${graph.outputs.join(", ")}.`,
    );
  checkInputs(graph, typed(inputs));
  for (const [name, value] of inputs) {
    const { dtype, shape } = value;
    const { arrays, size, places } = partsOf(value);
    const held = size * places.length;
    if (arrays.every((data) => data instanceof dtypes[dtype].array) && held === sizeOf(shape)) continue;
    throw new FrostbitError(
      "BAD_DATA",
      `Input "${name}" is ${dtype} [${shape.join(", ")}], but its ${arrays[0]?.constructor.name} holds ${held} elements.`,
    );
  }
}

/** Of what is one array, that. */
const partsOf = (value: Tensor): Pieces =>
  piecesOf(value) ?? { arrays: [value.data], size: value.data.length, places: Int32Array.of(0) };

const aborted = (graph: Graph, signal: AbortSignal): FrostbitError =>
  new FrostbitError("ABORTED", `The run of graph "${graph.name}" was stopped; its variables are as before.`, {
    cause: signal.reason,
  });

function throwIfAborted(graph: Graph, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(graph, signal);
}

/** What an executable is tied to. */
interface Tie {
  readonly variables: NativeVariables;
  /** By variable of the graph, what it is called there, if not the same. */
  readonly names: ReadonlyMap<string, string>;
  readonly bound: WeakMap<Assembled, Bound>;
}

/** The program over the variables' present memories. */
function programFor(compiled: Compiled, plan: Assembled, { variables, names, bound }: Tie): Bound {
  const memories = new Map<string, NativeMemory>();
  for (const name of compiled.graph.variables) {
    const value = variables.held.get(names.get(name) ?? name);
    checkVariable(compiled.graph, name, value && { ...value, data: noData });
    if (value) memories.set(name, value.memory);
  }
  const known = bound.get(plan);
  if (known && [...memories].every(([name, memory]) => known.memories.get(name) === memory)) return known;
  known?.program.dispose();
  const fresh = bindProgram(compiled.addon, plan, compiled.threads, memories);
  bound.set(plan, fresh);
  return fresh;
}

/** Variables are checked by their type; their elements are in native memory. */
const noData = new Uint8Array();

interface RunRequest {
  readonly inputs: Inputs;
  readonly sizes: ReadonlyMap<string, number>;
  /** Runs, one after the other; absent: one, whose inputs have no axis for it. */
  readonly turns: number | undefined;
}

async function run(
  { graph }: Compiled,
  assembled: Assembled,
  { program, memories }: Bound,
  { inputs, sizes, turns }: RunRequest,
  { fetch = graph.outputs, spare, signal }: ProgramRunOptions,
): Promise<ReadonlyMap<string, Tensor>> {
  const { plan } = assembled;
  const given = [...plan.inputs].flatMap(([name, value]) => {
    const tensor = inputs.get(name);
    if (!tensor || sizeOf(tensor.shape) === 0) return [];
    const { memory, offset } = placeOf(assembled, memories, value.slot);
    const pieces = piecesOf(tensor) ?? (turns && inPieces(tensor.data, tensor.data.length / turns));
    if (pieces) {
      const { arrays, size, places } = pieces;
      return [memory, offset, ...turnOf(value, pieces), arrays, size * arrays[0].BYTES_PER_ELEMENT, places];
    }
    memory.write(offset, tensor.data, ...imagesOf(value));
    return [];
  });
  const results = new Map<string, Tensor>();
  const transfers = fetch.flatMap((name) => {
    const value = plan.outputs.get(name);
    assert(value, `output "${name}" was not planned`);
    const ofOne = value.shape.map((size) => (typeof size === "number" ? size : (sizes.get(size) ?? 0)));
    const shape = turns === undefined ? ofOne : [turns, ...ofOne];
    const length = shape.reduce((product, size) => product * size, 1);
    const data = spareFor(name, value.dtype, length, spare) ?? new dtypes[value.dtype].array(length);
    results.set(
      name,
      value.layout === "plain" || length === 0 ? { dtype: value.dtype, shape, data } : imagesIn(data, value, shape),
    );
    const { memory, offset } = placeOf(assembled, memories, value.slot);
    return data.length > 0 ? [memory, offset, data] : [];
  });
  const counts = Float64Array.from(plan.counts.keys(), (name) => sizes.get(name) ?? 0);
  const stop = (): void => program.abort();
  signal?.addEventListener("abort", stop);
  try {
    if (!(await program.run(counts, transfers, given, turns ?? 1))) throw aborted(graph, signal ?? AbortSignal.abort());
  } catch (cause) {
    if (cause instanceof FrostbitError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FrostbitError("BAD_DATA", `Graph "${graph.name}" could not be run: ${reason}.`, { cause });
  } finally {
    signal?.removeEventListener("abort", stop);
  }
  return results;
}

/** An array in pieces of a size, in its order. */
const inPieces = (data: TypedArray, size: number): Pieces => ({
  arrays: [data],
  size,
  places: Int32Array.from({ length: data.length / size }, (_, i) => i),
});

/** What lies in another order than it is given in: channels, and pixels of each. */
function imagesOf({ layout, shape }: Value): readonly [channels: number, plane: number] {
  if (layout === "plain") return [1, 1];
  const [, channels, ...plane] = fixed(shape);
  return [channels, sizeOf(plane)];
}

/** The same of pieces whose channels may lie last already: nothing is turned, or turned back. */
function turnOf(value: Value, { channels, size }: Pieces): readonly [channels: number, plane: number] {
  if (channels === undefined) return imagesOf(value);
  return value.layout === "plain" ? [size / channels, channels] : [1, 1];
}

/** An output whose channels lie last. */
function imagesIn(data: TypedArray, { dtype, shape: ofOne }: Value, shape: readonly number[]): Tensor {
  const [, channels, ...plane] = fixed(ofOne);
  return joinedTensor(dtype, shape, { ...inPieces(data, channels * sizeOf(plane)), channels });
}

function spareFor(
  name: string,
  dtype: DType,
  length: number,
  spare: ProgramRunOptions["spare"],
): TypedArray | undefined {
  const data = spare?.get(name);
  assert(
    !data || (data instanceof dtypes[dtype].array && data.length === length),
    `the array for "${name}" does not fit`,
  );
  return data;
}

function checkCounts(graph: Graph, counts: ReadonlyMap<string, number>, sizes: ReadonlyMap<string, number>): void {
  for (const [name, max] of counts)
    if ((sizes.get(name) ?? 0) > max)
      throw new FrostbitError(
        "BAD_DATA",
        `Graph "${graph.name}" was given ${sizes.get(name)} indices for "${name}"; expected at most ${max}, the size of the axis that they index.`,
      );
}
