// What a reference kernel is: plain loops over tensors of any dtype up to float64.
import type { Node } from "../ir/graph.ts";
import type { Tensor } from "../ir/tensor.ts";

/** Gives one tensor per output (those whose name is "" may be undefined). Inputs that the node leaves out are undefined. */
export type Kernel = (inputs: readonly (Tensor | undefined)[], node: Node) => readonly (Tensor | undefined)[];
