// An engine whose runs of graphs that train are watched.
import type { Engine, Executable, Program, Variables } from "../../src/engines/engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { joinedTensor, piecesOf } from "../../src/ir/joined-tensor.ts";
import { sizeOf, type Tensor } from "../../src/ir/tensor.ts";

type Bound = Parameters<Executable["bind"]>;
type Inputs = ReadonlyMap<string, Tensor>;

/** Around a run, or a series of runs, whose first has these inputs. */
type Watch = (
  run: () => Promise<Inputs>,
  first: () => Inputs,
  bound: { readonly variables: Variables; readonly names: Bound[1] },
) => Promise<Inputs>;

/** `watchOf` is asked once for each graph that trains and is compiled; `undefined` leaves its runs alone. */
export const watchSteps = (engine: Engine, watchOf: (graph: Graph) => Watch | undefined): Engine => ({
  ...engine,
  compile: async (graph, options) => {
    const executable = await engine.compile(graph, options);
    const watch = graph.updates.size === 0 ? undefined : watchOf(graph);
    if (!watch) return executable;
    return {
      ...executable,
      bind: (variables, names): Program => {
        const program = executable.bind(variables, names);
        const { runSeries } = program;
        const bound = { variables, names };
        return {
          run: (inputs, given) =>
            watch(
              () => program.run(inputs, given),
              () => inputs,
              bound,
            ),
          ...(runSeries
            ? {
                runSeries: (inputs, fetch) =>
                  watch(
                    () => runSeries(inputs, fetch),
                    () => firstOf(inputs),
                    bound,
                  ),
              }
            : {}),
        };
      },
    };
  },
});

/** Of the first run of a series. */
const firstOf = (inputs: Inputs): Inputs =>
  new Map(
    [...inputs].map(([name, value]) => {
      const {
        dtype,
        shape: [, ...shape],
      } = value;
      const pieces = piecesOf(value);
      if (!pieces) return [name, { dtype, shape, data: value.data.slice(0, sizeOf(shape)) }];
      const { size, places } = pieces;
      const join = (): Tensor["data"] => value.data.slice(0, sizeOf(shape));
      return [name, joinedTensor(dtype, shape, { ...pieces, places: places.slice(0, sizeOf(shape) / size), join })];
    }),
  );
