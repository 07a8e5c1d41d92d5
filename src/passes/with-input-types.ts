// The same nodes for inputs of other sizes.
import type { Graph, ValueType } from "../ir/graph.ts";
import { inferTypes } from "./infer-types.ts";

/** With the types of the inputs that are given, and what follows of the values after them. */
export const withInputTypes = (graph: Graph, types: ReadonlyMap<string, ValueType>): Graph =>
  inferTypes({ ...graph, values: new Map([...graph.values, ...types]) });
