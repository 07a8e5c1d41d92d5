// Scales of weights as float16 holds them, so that what is folded is what is stored.
import type { Graph } from "../ir/graph.ts";
import { narrowTensor, widenTensor } from "../ir/half.ts";
import { numbersOf, type Tensor, tensorOf } from "../ir/tensor.ts";
import { quantizersOf } from "./quantizer.ts";

/** The least that float16 has above 0. */
const least = 2 ** -24;

function rounded(scale: Tensor): Tensor {
  const nearest = widenTensor(narrowTensor(scale, "float16"));
  return tensorOf(
    scale.dtype,
    scale.shape,
    Array.from(numbersOf(nearest), (value) => Math.max(least, value)),
  );
}

export function withHalfScales(graph: Graph): Graph {
  const scales = quantizersOf(graph)
    .filter(({ value }) => graph.constants.has(value))
    .flatMap(({ scale }) => {
      const value = graph.constants.get(scale);
      return value ? [[scale, rounded(value)] as const] : [];
    });
  return { ...graph, constants: new Map([...graph.constants, ...scales]) };
}
