// New names.
import type { Graph } from "./graph.ts";
import type { Tensor } from "./tensor.ts";

/** Makes a name from a hint. */
export type MakeName = (hint: string) => string;

/** Returns each hint, with a number if the name is in use. Names in use are collected when the first hint comes: most passes find nothing to name. */
export function uniqueNames(used: Iterable<string> = []): MakeName {
  let collected: Set<string> | undefined;
  const counters = new Map<string, number>();
  return (hint) => {
    collected ??= new Set(used);
    const names = collected;
    let name = hint;
    while (names.has(name)) {
      const count = (counters.get(hint) ?? 0) + 1;
      counters.set(hint, count);
      name = `${hint}_${count}`;
    }
    names.add(name);
    return name;
  };
}

/** Names that no value and no node of the graph has. */
export const uniqueNamesIn = (graph: Graph): MakeName => uniqueNames(namesOf(graph));

function* namesOf({ values, nodes }: Graph): Iterable<string> {
  yield* values.keys();
  for (const { name, outputs } of nodes) {
    yield name;
    yield* outputs;
  }
}

/** Returns the same name whenever a hint repeats: for constants that several nodes share. */
export function sharedNames(unique: MakeName): MakeName {
  const nameByHint = new Map<string, string>();
  return (hint) => {
    const name = nameByHint.get(hint) ?? unique(hint);
    nameByHint.set(hint, name);
    return name;
  };
}

/** New names beside those of a graph, and constants under such names. */
export interface NewNames {
  /** A new name. */
  readonly unique: MakeName;
  /** A constant; the same hint gives the same one. */
  readonly constant: (hint: string, value: Tensor) => string;
}

/** Constants are added to `constants`: a model may have an "int8:-8" already. */
export function newNamesIn(graph: Graph, constants: Map<string, Tensor>): NewNames {
  const unique = uniqueNamesIn(graph);
  const shared = sharedNames(unique);
  const constant = (hint: string, value: Tensor): string => {
    const name = shared(hint);
    constants.set(name, value);
    return name;
  };
  return { unique, constant };
}
