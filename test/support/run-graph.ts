// One run of a graph without variables.
import type { Engine } from "../../src/engines/engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";

export async function runGraph(
  engine: Engine,
  graph: Graph,
  inputs: ReadonlyMap<string, Tensor>,
  threads = 1,
): Promise<ReadonlyMap<string, Tensor>> {
  const executable = await engine.compile(graph, { threads });
  try {
    return await executable.bind(await engine.variables(new Map())).run(inputs);
  } finally {
    await executable.dispose();
  }
}
