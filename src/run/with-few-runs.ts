// Graphs that are run a few times: of large ones, a part at a time is compiled, so that its constants alone are in memory.
import type { Program } from "../engines/engine.ts";
import { FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";
import { cutIntoStages } from "../passes/cut-stages.ts";
import { bytesOfWeights } from "../passes/peak-bytes.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import { withInputTypes } from "../passes/with-input-types.ts";
import type { Context } from "./context.ts";
import { compileOptions, withProgram } from "./with-program.ts";

/** Of a graph, and of a stage of one that has more. */
const [wholeBytes, stageBytes] = [2 ** 28, 2 ** 26];

type Values = ReadonlyMap<string, Tensor>;

/** As `withProgram`; every run of a large graph compiles it anew, stage by stage. */
export const withFewRuns = <T>(graph: Graph, context: Context, use: (program: Program) => Promise<T>): Promise<T> =>
  isLarge(graph) ? use(stagedProgram(graph, context)) : withProgram(graph, context, use);

/** Whether a graph's constants are more than should be in memory at once. */
export const isLarge = (graph: Graph): boolean => bytesOfWeights(graph) > wholeBytes;

/** The stages of a graph for inputs of these types. */
export function stagesFor(graph: Graph, inputs: Values): readonly Graph[] {
  const types = [...inputs].map(([name, { dtype, shape }]) => [name, { dtype, shape }] as const);
  return cutIntoStages(removeDeadNodes(withInputTypes(graph, new Map(types))), stageBytes);
}

/** Runs stages in turn, each on what the inputs and those before it give; what none after it reads is let go of. */
export async function runStages(
  stages: readonly Graph[],
  inputs: Values,
  outputs: readonly string[],
  run: (stage: Graph, given: Values) => Promise<Values>,
): Promise<Values> {
  let values = new Map(inputs);
  for (const [index, stage] of stages.entries()) {
    const given = new Map(stage.inputs.map((name) => [name, tensorNamed(values, name)]));
    const made = await run(stage, given);
    const readLater = new Set([...outputs, ...stages.slice(index + 1).flatMap((later) => later.inputs)]);
    values = new Map([...values, ...made].filter(([name]) => readLater.has(name)));
  }
  return new Map(outputs.map((name) => [name, tensorNamed(values, name)]));
}

function tensorNamed(values: Values, name: string): Tensor {
  const found = values.get(name);
  if (!found) throw new FrostbitError("BAD_DATA", `Input "${name}" is missing.`);
  return found;
}

function stagedProgram(graph: Graph, context: Context): Program {
  return {
    run: (inputs, { fetch = graph.outputs, signal } = {}) =>
      runStages(stagesFor({ ...graph, outputs: fetch }, inputs), inputs, fetch, (stage, given) =>
        withProgram(stage, context, (program) => program.run(given, signal ? { signal } : {}), compileOptions(context)),
      ),
  };
}
