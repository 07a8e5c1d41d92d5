// An engine whose runs of graphs that train are watched.
import type { Engine, Executable, Program, Variables } from "../../src/engines/engine.ts";
import type { Graph } from "../../src/ir/graph.ts";

type Bound = Parameters<Executable["bind"]>;

/** What a run of a bound step becomes. */
type Watch = (run: Program["run"], variables: Variables, names: Bound[1]) => Program["run"];

/** `watchOf` is asked once for each graph that trains and is compiled; `undefined` leaves its runs alone. */
export const watchSteps = (engine: Engine, watchOf: (graph: Graph) => Watch | undefined): Engine => ({
  ...engine,
  compile: async (graph, options) => {
    const executable = await engine.compile(graph, options);
    const watch = graph.updates.size === 0 ? undefined : watchOf(graph);
    if (!watch) return executable;
    return {
      ...executable,
      bind: (variables, names) => {
        const program = executable.bind(variables, names);
        return { run: watch((inputs, given) => program.run(inputs, given), variables, names) };
      },
    };
  },
});
