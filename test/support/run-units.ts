// The outputs of a graph, computed unit by unit.
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { assert } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import type { Tensor } from "../../src/ir/tensor.ts";
import { cutUnit } from "../../src/units/cut-unit.ts";
import type { Unit } from "../../src/units/units.ts";
import { runGraph } from "./run-graph.ts";

/** Of a graph of static shapes. */
export async function runUnits(
  graph: Graph,
  units: readonly Unit[],
  inputs: ReadonlyMap<string, Tensor>,
): Promise<ReadonlyMap<string, Tensor>> {
  const known = new Map(inputs);
  for (const unit of units) {
    const given = unit.inputs.map((name) => {
      const value = known.get(name);
      assert(value, `unit "${unit.name}" reads "${name}", which no unit before it gives`);
      return [name, value] as const;
    });
    const cut = cutUnit(graph, unit.inputs, unit.outputs);
    for (const [name, value] of await runGraph(createReferenceEngine(), cut, new Map(given))) known.set(name, value);
  }
  return new Map([...known].filter(([name]) => graph.outputs.includes(name)));
}
