// Graphs that are run a few times: of large ones, a part at a time is compiled, so that its constants alone are in memory.
import { runAhead } from "../data/batches.ts";
import type { Program } from "../engines/engine.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { cutIntoStages } from "../passes/cut-stages.ts";
import { bytesOf, bytesOfWeights } from "../passes/peak-bytes.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import { type Context, signalOf } from "./context.ts";
import { arraysOf, compileOptions, withProgram } from "./with-program.ts";

/** What is in memory at most: constants of a graph, and of a stage of one that has more; what passes between the stages of many batches. */
const limits = { wholeBytes: 2 ** 27, stageBytes: 2 ** 26, heldBytes: 2 ** 26 };

/** The same of graphs whose values are looked at: those of fewer layers are then in memory. */
const watched = { ...limits, stageBytes: 2 ** 25 };

type Values = ReadonlyMap<string, Tensor>;

/** As `withProgram`; every run of a large graph compiles it anew, stage by stage. */
export const withFewRuns = <T>(graph: Graph, context: Context, use: (program: Program) => Promise<T>): Promise<T> =>
  isLarge(graph) ? use(stagedProgram(graph, context)) : withProgram(graph, context, use);

/** Whether a graph's constants are more than should be in memory at once. */
export const isLarge = (graph: Graph, wholeBytes = limits.wholeBytes): boolean => bytesOfWeights(graph) > wholeBytes;

/** The stages of a graph for inputs of these types. */
export function stagesFor(graph: Graph, inputs: Values, stageBytes = limits.stageBytes): readonly Graph[] {
  const types = [...inputs].map(([name, { dtype, shape }]) => [name, { dtype, shape }] as const);
  return cutIntoStages(removeDeadNodes(withInputTypes(graph, new Map(types))), stageBytes);
}

/** Runs stages in turn, each on what the inputs and those before it give; what none after it reads is let go of. */
export async function runStages(
  stages: readonly Graph[],
  inputs: Values,
  outputs: readonly string[],
  run: RunStage,
): Promise<Values> {
  const values = new Map(inputs);
  const wanted = new Set(outputs);
  for await (const made of stageByStage(stages, inputs, run))
    for (const [name, value] of made) if (wanted.has(name)) values.set(name, value);
  return new Map(outputs.map((name) => [name, tensorNamed(values, name)]));
}

type RunStage = (stage: Graph, given: Values) => Promise<Values>;

/** What each stage gives. */
async function* stageByStage(
  stages: readonly Graph[],
  inputs: Values,
  run: RunStage,
): AsyncGenerator<Values, void, undefined> {
  let values = inputs;
  for (const [index, stage] of stages.entries()) {
    const made = await run(stage, new Map(stage.inputs.map((name) => [name, tensorNamed(values, name)])));
    const read = readAfter(stages, index, []);
    values = new Map([...values, ...made].filter(([name]) => read.has(name)));
    yield made;
  }
}

/**
 * What a graph computes of some values for one batch: all of it at once, or of a large graph stage by stage. Each value is let go of
 * where the caller does not keep it.
 */
export async function* valuesByStage(
  graph: Graph,
  names: readonly string[],
  inputs: Values,
  context: Context,
  { wholeBytes, stageBytes } = watched,
): AsyncGenerator<Values, void, undefined> {
  const giving = removeDeadNodes({ ...graph, outputs: names });
  const run: RunStage = (stage, given) =>
    withProgram(stage, context, (program) => program.run(given, signalOf(context)));
  if (!isLarge(giving, wholeBytes)) return yield run(giving, inputs);
  const wanted = new Set(names);
  for await (const made of stageByStage(stagesFor(giving, inputs, stageBytes), inputs, run))
    yield new Map([...made].filter(([name]) => wanted.has(name)));
}

/** Of what there is after a stage, what is wanted later. */
const readAfter = (stages: readonly Graph[], index: number, outputs: readonly string[]): ReadonlySet<string> =>
  new Set([...outputs, ...stages.slice(index + 1).flatMap((later) => later.inputs)]);

function tensorNamed(values: Values, name: string): Tensor {
  const found = values.get(name);
  if (!found) throw new FrostbitError("BAD_DATA", `Input "${name}" is missing.`);
  return found;
}

function stagedProgram(graph: Graph, context: Context): Program {
  return {
    run: (inputs, { fetch = graph.outputs, signal, spare } = {}) => {
      const options = { ...(signal && { signal }), ...(spare && { spare }) };
      return runStages(stagesFor({ ...graph, outputs: fetch }, inputs), inputs, fetch, (stage, given) =>
        withProgram(stage, context, (program) => program.run(given, options), compileOptions(context)),
      );
    },
  };
}

/** What of a batch goes into a graph. */
interface Fed {
  readonly inputs: Values;
}

/** What sees each batch with the graph's outputs for it. */
interface EachRun<B> {
  readonly use: (batch: B, outputs: Values) => void;
  /** Whether the next batch's outputs may take the place of those that `use` has seen. */
  readonly reuses: boolean;
  readonly phase: string;
}

/** Runs a graph on each batch; the stages of a large one in turn, each compiled once for many batches. */
export async function runEach<B extends Fed>(
  graph: Graph,
  all: AsyncGenerator<B, void, undefined>,
  each: EachRun<B>,
  context: Context,
  { wholeBytes, stageBytes, heldBytes } = limits,
): Promise<void> {
  if (bytesOfWeights(graph) <= wholeBytes)
    return withProgram(graph, context, async (program) => {
      const run = reusing(program, each.reuses, context);
      for await (const [batch, outputs] of runAhead(all, ({ inputs }) => run(inputs))) each.use(batch, outputs);
    });
  let stages: readonly Graph[] = [];
  let ofBatch = 0;
  let group: B[] = [];
  for await (const batch of all) {
    const isFull = (group.length + 1) * ofBatch > heldBytes;
    if (group.length > 0 && (isFull || sizesOf(group[0].inputs) !== sizesOf(batch.inputs))) {
      await runGroup(stages, group, graph.outputs, each, context);
      group = [];
    }
    if (group.length === 0) {
      stages = stagesFor(graph, batch.inputs, stageBytes);
      ofBatch = bytesBetween(stages);
    }
    group.push(batch);
  }
  if (group.length > 0) await runGroup(stages, group, graph.outputs, each, context);
}

/** What tells inputs of other sizes: what they give does not fit where theirs was. */
export const sizesOf = (inputs: Values): string => [...inputs.values()].map(({ shape }) => shape.join()).join(";");

/** The most that one batch holds between two stages. */
function bytesBetween(stages: readonly Graph[]): number {
  const made = new Map<string, number>();
  let most = 0;
  for (const [at, { outputs, values }] of stages.entries()) {
    for (const name of outputs) {
      const type = values.get(name);
      assert(type, `"${name}" has no type`);
      made.set(name, bytesOf(type));
    }
    const wanted = readAfter(stages, at, []);
    most = Math.max(
      most,
      [...made].reduce((sum, [name, bytes]) => sum + (wanted.has(name) ? bytes : 0), 0),
    );
  }
  return most;
}

async function runGroup<B extends Fed>(
  stages: readonly Graph[],
  group: readonly B[],
  outputs: readonly string[],
  { use, reuses, phase }: EachRun<B>,
  context: Context,
): Promise<void> {
  const held = group.map(({ inputs }) => inputs);
  for (const [index, stage] of stages.entries()) {
    const isLast = index === stages.length - 1;
    const wanted = readAfter(stages, index, outputs);
    await withProgram(stage, context, async (program) => {
      const run = reusing(program, reuses && isLast, context);
      for (const [at, batch] of group.entries()) {
        const made = await run(new Map(stage.inputs.map((name) => [name, tensorNamed(held[at], name)])));
        held[at] = new Map([...held[at], ...made].filter(([name]) => wanted.has(name)));
        if (!isLast) {
          const part = `${phase}, part ${index + 1} of ${stages.length}`;
          context.onProgress?.({ phase: part, done: at + 1, total: group.length });
          continue;
        }
        use(batch, held[at]);
        held[at] = new Map();
      }
    });
  }
}

/** Runs of a program, each of which may write into what the last one of that size gave. */
function reusing(program: Program, reuses: boolean, context: Context): (inputs: Values) => Promise<Values> {
  let last: { readonly sizes: string; readonly spare: ReadonlyMap<string, TypedArray> } | undefined;
  return async (inputs) => {
    const sizes = sizesOf(inputs);
    const spare = reuses && last?.sizes === sizes ? { spare: last.spare } : {};
    const outputs = await program.run(inputs, { ...signalOf(context), ...spare });
    last = { sizes, spare: arraysOf(outputs) };
    return outputs;
  };
}
