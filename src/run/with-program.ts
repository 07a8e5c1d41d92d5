// Compiles a graph for as long as it is used.
import type { CompileOptions, Program, Variables } from "../engines/engine.ts";
import type { TypedArray } from "../ir/dtype.ts";
import type { Graph } from "../ir/graph.ts";
import { piecesOf } from "../ir/joined-tensor.ts";
import type { Tensor } from "../ir/tensor.ts";
import type { Context } from "./context.ts";

export const compileOptions = ({ threads, kernels }: Context): CompileOptions => ({
  ...(threads === undefined ? {} : { threads }),
  ...(kernels === undefined ? {} : { kernels }),
});

/** What is trained may be computed in another precision than what is measured. */
export const trainingOptions = (context: Context): CompileOptions => ({
  ...compileOptions(context),
  ...(context.precision === undefined ? {} : { precision: context.precision }),
});

export const withProgram = <T>(
  graph: Graph,
  context: Context,
  use: (program: Program) => Promise<T>,
  options: CompileOptions = compileOptions(context),
): Promise<T> => withVariables(graph, new Map(), context, use, options);

/** A graph with variables, and their values to begin with. */
export async function withVariables<T>(
  graph: Graph,
  initial: ReadonlyMap<string, Tensor>,
  context: Context,
  use: (program: Program, variables: Variables) => Promise<T>,
  options: CompileOptions = compileOptions(context),
): Promise<T> {
  const executable = await context.engine.compile(graph, options);
  const variables = await context.engine.variables(initial);
  try {
    return await use(executable.bind(variables), variables);
  } finally {
    variables.dispose();
    await executable.dispose();
  }
}

/** Several graphs without variables, all compiled at once. */
export function withPrograms<T>(
  graphs: readonly Graph[],
  context: Context,
  use: (programs: readonly Program[]) => Promise<T>,
): Promise<T> {
  const [first, ...rest] = graphs;
  if (!first) return use([]);
  return withProgram(first, context, (program) =>
    withPrograms(rest, context, (programs) => use([program, ...programs])),
  );
}

/** The arrays of a run's results, for the next run to write into: what is kept of them is copied. */
export const arraysOf = (results: ReadonlyMap<string, Tensor>): ReadonlyMap<string, TypedArray> =>
  new Map([...results].map(([name, value]) => [name, piecesOf(value)?.arrays[0] ?? value.data]));
