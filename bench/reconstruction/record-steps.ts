// The steps of units as reconstruction compiles them, with the inputs and variables of their first run.
import type { Engine, Variables } from "../../src/engines/engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import type { Progress } from "../../src/run/context.ts";
import { watchSteps } from "./watch-steps.ts";

export interface RecordedStep {
  readonly graph: Graph;
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly initial: ReadonlyMap<string, Tensor>;
}

type Run = (engine: Engine, onProgress: (progress: Progress) => void) => Promise<unknown>;

/** The first step of each unit that is compiled while `run` runs, by the unit's name. */
export async function recordSteps(engine: Engine, run: Run): Promise<ReadonlyMap<string, RecordedStep>> {
  const steps = new Map<string, RecordedStep>();
  let unit = "";
  const recording = watchSteps(engine, (graph) => {
    const name = unit;
    if (steps.has(name)) return undefined;
    return async (runSteps, first, { variables, names }) => {
      if (!steps.has(name))
        steps.set(name, { graph, inputs: first(), initial: await valuesOf(graph, variables, names) });
      return runSteps();
    };
  });
  await run(recording, ({ phase }) => {
    unit = / activations of (.*)$/.exec(phase)?.[1] ?? unit;
  });
  return steps;
}

async function valuesOf(
  graph: Graph,
  variables: Variables,
  names: ReadonlyMap<string, string> = new Map(),
): Promise<ReadonlyMap<string, Tensor>> {
  const values = new Map<string, Tensor>();
  for (const name of graph.variables) values.set(name, await variables.read(names.get(name) ?? name));
  return values;
}
